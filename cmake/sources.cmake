# Every .c file of a folder belongs to it; kernels of an instruction set get its flags, nothing else does.
set(R2LM_LIBRARY_FOLDERS base files text sampler model engine convert kernels kernels/ref kernels/portable)
set(R2LM_KERNEL_LEVELS ref portable)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND R2LM_LIBRARY_FOLDERS kernels/avx2 kernels/avx512 kernels/amx)
  list(APPEND R2LM_KERNEL_LEVELS avx2 avx512 amx)
endif()
foreach(folder IN LISTS R2LM_LIBRARY_FOLDERS)
  file(GLOB found CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${folder}/*.c")
  list(APPEND R2LM_LIBRARY_SOURCES ${found})
endforeach()

function(r2lm_kernel_flags folder)
  file(GLOB found CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/kernels/${folder}/*.c")
  set_source_files_properties(${found} PROPERTIES COMPILE_OPTIONS "${ARGN}")
endfunction()
# What the level promises.  BF16 is a feature beyond it: only files named *_bf16_avx512.c get its flag,
# and their functions enter the table only where the machine has it.
set(R2LM_AVX512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c)
# Unrolled tiles under sanitizers take minutes to optimise and gain nothing there.
set(R2LM_HOT -O3)
if(R2LM_FUZZ)
  set(R2LM_HOT -O1 -fno-sanitize=all) # fuzzed are readers of files, not arithmetic
elseif(R2LM_SANITIZE)
  set(R2LM_HOT -O1)
endif()
# Plain loops over rows and logits want the vectorizer as well.
foreach(folder model sampler)
  file(GLOB found CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${folder}/*.c")
  if(NOT R2LM_SANITIZE)
    set_source_files_properties(${found} PROPERTIES COMPILE_OPTIONS -O3)
  endif()
endforeach()
r2lm_kernel_flags(. ${R2LM_HOT})
r2lm_kernel_flags(portable ${R2LM_HOT})
r2lm_kernel_flags(avx2 ${R2LM_HOT} -mavx2 -mfma -mf16c)
file(GLOB found CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/kernels/avx2/*_avxvnni.c") # likewise
set_source_files_properties(${found} PROPERTIES COMPILE_OPTIONS "${R2LM_HOT};-mavx2;-mfma;-mf16c;-mavxvnni")
r2lm_kernel_flags(avx512 ${R2LM_HOT} ${R2LM_AVX512})
file(GLOB found CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/kernels/avx512/*_bf16_avx512.c")
set_source_files_properties(${found} PROPERTIES COMPILE_OPTIONS "${R2LM_HOT};${R2LM_AVX512};-mavx512bf16")
r2lm_kernel_flags(amx ${R2LM_HOT} ${R2LM_AVX512} -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16)

set(R2LM_LINK_LIBRARIES Threads::Threads PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::UTF8PROC m)
set(R2LM_PUBLIC_INCLUDES "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
  "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")

# One set of objects serves the shared library, the static one and the tests, which look inside.
add_library(r2lm_objects OBJECT ${R2LM_LIBRARY_SOURCES})
target_include_directories(r2lm_objects PUBLIC "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/src")
target_link_libraries(r2lm_objects PUBLIC ${R2LM_LINK_LIBRARIES})

add_library(r2lm_static STATIC $<TARGET_OBJECTS:r2lm_objects>)
add_library(r2lm_shared SHARED $<TARGET_OBJECTS:r2lm_objects>)
target_link_libraries(r2lm_static PUBLIC ${R2LM_LINK_LIBRARIES})
target_link_libraries(r2lm_shared PRIVATE ${R2LM_LINK_LIBRARIES})
set_target_properties(r2lm_static PROPERTIES OUTPUT_NAME r2lm LINKER_LANGUAGE C)
set_target_properties(r2lm_shared PROPERTIES OUTPUT_NAME r2lm LINKER_LANGUAGE C EXPORT_NAME r2lm
  VERSION ${PROJECT_VERSION} SOVERSION 0)
foreach(library r2lm_static r2lm_shared)
  target_include_directories(${library} INTERFACE ${R2LM_PUBLIC_INCLUDES})
endforeach()
if(NOT R2LM_SANITIZE)
  target_link_options(r2lm_shared PRIVATE -Wl,--no-undefined -Wl,-z,relro,-z,now)
endif()

file(GLOB R2LM_CLI_SOURCES CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/cli/*.c")
if(R2LM_CLI_SOURCES)
  add_executable(r2lm ${R2LM_CLI_SOURCES})
  # The program sees include/r2lm and base/ only (tools/check_structure.py watches over it).
  target_include_directories(r2lm PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(r2lm PRIVATE r2lm_static)
  if(LIBEDIT_FOUND)
    target_link_libraries(r2lm PRIVATE PkgConfig::LIBEDIT)
    target_compile_definitions(r2lm PRIVATE R2LM_HAVE_LIBEDIT)
  endif()
  if(CRYPTO_FOUND)
    target_link_libraries(r2lm PRIVATE PkgConfig::CRYPTO)
    target_compile_definitions(r2lm PRIVATE R2LM_HAVE_CRYPTO)
  endif()
endif()
