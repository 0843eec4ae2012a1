# Compiler flags, sanitizers and the libraries that r2lm links.
option(R2LM_SANITIZE "Build with AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(R2LM_FUZZ "Build the libFuzzer programs (clang only)" OFF)
option(R2LM_WERROR "Treat warnings as errors" OFF)
option(R2LM_LINES_ONLY "Debug information names functions and lines alone (CI: little disk)" OFF)
option(R2LM_DEBUG "Check preconditions (always on in tests)" ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")
if(R2LM_LINES_ONLY)
  set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g1")
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wcast-qual -Wvla -Wundef
  -Wstrict-prototypes -Wmissing-prototypes -fvisibility=hidden -ffp-contract=off
  -fstack-protector-strong)
add_compile_definitions(R2LM_VERSION="${PROJECT_VERSION}")
if(R2LM_WERROR)
  add_compile_options(-Werror)
endif()
if(R2LM_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "R2LM_FUZZ: expected clang (libFuzzer), found ${CMAKE_C_COMPILER_ID}")
  endif()
  set(R2LM_SANITIZE ON)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(R2LM_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(R2LM_DEBUG)
  add_compile_definitions(R2I_DEBUG)
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(SECCOMP IMPORTED_TARGET libseccomp) # without it, no sandbox
pkg_check_modules(LIBEDIT IMPORTED_TARGET libedit) # the program only; without it, no line editing
pkg_check_modules(CRYPTO IMPORTED_TARGET libcrypto) # the program only; without it, no checksums in `r2lm verify`
# The plugin only; without it, `mpirun r2lm train` says what is missing.
pkg_check_modules(MPI IMPORTED_TARGET ompi-c)
pkg_check_modules(ZLIB IMPORTED_TARGET zlib) # the program only; without it, `r2lm eval` takes no gzip
pkg_check_modules(SQLITE IMPORTED_TARGET sqlite3) # the program only; without it, no `r2lm runs`
# The program only; without them, no `r2lm serve`.
pkg_check_modules(LIBEVENT IMPORTED_TARGET libevent_core libevent_extra libevent_openssl openssl)
