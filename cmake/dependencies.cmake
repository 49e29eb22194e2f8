# What every target compiles and links with.
#   tenon_flags     language, warnings, sanitizers, include folders
#   tenon_libraries the libraries, by name, so that the exported package holds no absolute path
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(TENON_PC REQUIRED jansson libcpuinfo hwloc libmd libxxhash zlib
    libjpeg libpng)

# It ships no pkg-config file.
find_library(TENON_NANOPB protobuf-nanopb REQUIRED)

add_library(tenon_libraries INTERFACE)
target_include_directories(tenon_libraries SYSTEM INTERFACE
    $<BUILD_INTERFACE:${TENON_PC_INCLUDE_DIRS}>)
target_link_directories(tenon_libraries INTERFACE $<BUILD_INTERFACE:${TENON_PC_LIBRARY_DIRS}>)
target_link_libraries(tenon_libraries INTERFACE
    protobuf-nanopb cpuinfo hwloc jansson md jpeg png z m ${CMAKE_DL_LIBS} pthread)

add_library(tenon_flags INTERFACE)
target_include_directories(tenon_flags INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_include_directories(tenon_flags SYSTEM INTERFACE ${PROJECT_BINARY_DIR}/generated)
target_compile_definitions(tenon_flags INTERFACE _GNU_SOURCE TENON_VERSION="${PROJECT_VERSION}")
target_compile_options(tenon_flags INTERFACE
    -fno-math-errno -ffp-contract=off -fvisibility=hidden)
target_link_libraries(tenon_flags INTERFACE tenon_libraries)

add_library(tenon_warnings INTERFACE)
target_compile_options(tenon_warnings INTERFACE
    -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Werror)

if(TENON_SANITIZE)
    # gcc's checks for a null format make its own warning fire.
    target_compile_options(tenon_warnings INTERFACE $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>)
    target_compile_options(tenon_flags INTERFACE
        -fsanitize=${TENON_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(tenon_flags INTERFACE -fsanitize=${TENON_SANITIZE})
endif()
if(TENON_FUZZ)
    target_compile_options(tenon_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
