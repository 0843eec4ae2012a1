# What `make install` puts down: headers, both libraries, pkg-config and CMake package files, the
# program, and the man page and completions that the program writes from its own option table.
include(CMakePackageConfigHelpers)

set(R2LM_CMAKE_FOLDER "${CMAKE_INSTALL_LIBDIR}/cmake/r2lm")
install(DIRECTORY include/r2lm TYPE INCLUDE FILES_MATCHING PATTERN "*.h")
install(TARGETS r2lm_shared r2lm_static EXPORT r2lm_targets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT r2lm_targets NAMESPACE r2lm:: FILE r2lm-targets.cmake DESTINATION "${R2LM_CMAKE_FOLDER}")
configure_package_config_file(cmake/r2lm-config.cmake.in "${PROJECT_BINARY_DIR}/r2lm-config.cmake"
  INSTALL_DESTINATION "${R2LM_CMAKE_FOLDER}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/r2lm-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/r2lm-config.cmake" "${PROJECT_BINARY_DIR}/r2lm-config-version.cmake"
  DESTINATION "${R2LM_CMAKE_FOLDER}")
configure_file(cmake/r2lm.pc.in "${PROJECT_BINARY_DIR}/r2lm.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/r2lm.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")

if(TARGET r2lm)
  install(TARGETS r2lm RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
if(TARGET r2lm_mpi)
  install(TARGETS r2lm_mpi LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}/r2lm")
endif()
if(TARGET r2lm AND NOT CMAKE_CROSSCOMPILING)
  set(written)
  function(r2lm_written file folder name) # ARGN: the arguments that make the program write it
    set(out "${PROJECT_BINARY_DIR}/written/${file}")
    add_custom_command(OUTPUT "${out}" DEPENDS r2lm VERBATIM
      COMMAND "${CMAKE_COMMAND}" -E make_directory "${PROJECT_BINARY_DIR}/written"
      COMMAND sh -c "\"$@\" > \"$0.part\" && mv \"$0.part\" \"$0\"" "${out}" $<TARGET_FILE:r2lm> ${ARGN}
      COMMENT "Writing ${file}")
    install(FILES "${out}" DESTINATION "${folder}" RENAME "${name}")
    set(written ${written} "${out}" PARENT_SCOPE)
  endfunction()
  r2lm_written(r2lm.1 "${CMAKE_INSTALL_MANDIR}/man1" r2lm.1 help --man)
  r2lm_written(r2lm.bash "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" r2lm completion bash)
  r2lm_written(_r2lm "${CMAKE_INSTALL_DATADIR}/zsh/site-functions" _r2lm completion zsh)
  r2lm_written(r2lm.fish "${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d" r2lm.fish completion fish)
  add_custom_target(written_pages ALL DEPENDS ${written})
endif()
