# The rooms of src/, lowest first; tests/structure/check_includes.py holds who may look where.
set(TENON_ROOMS
    base ir loop ops machine transform schedule toolchain codegen program plan import runtime
    session nn wide explore)

set(tenon_objects)
foreach(room IN LISTS TENON_ROOMS)
    file(GLOB sources CONFIGURE_DEPENDS src/${room}/*.c src/${room}/*/*.c)
    if(sources)
        add_library(tenon_${room} OBJECT ${sources})
        target_link_libraries(tenon_${room} PRIVATE tenon_flags tenon_warnings)
        list(APPEND tenon_objects $<TARGET_OBJECTS:tenon_${room}>)
    endif()
endforeach()

# Loops over pixels are worth vectors; -O2 of gcc hardly makes any.
file(GLOB pixel_loops CONFIGURE_DEPENDS
    src/nn/data/resize.c src/nn/data/warp.c src/nn/data/colour.c)
set_source_files_properties(${pixel_loops} PROPERTIES
    COMPILE_OPTIONS "$<$<CONFIG:Release,RelWithDebInfo>:-O3>")

# The ONNX wire format: nanopb's generator makes import/onnx/onnx.pb.{c,h} in build/generated.
file(GLOB onnx_proto CONFIGURE_DEPENDS src/import/onnx/onnx.proto)
if(onnx_proto AND TARGET tenon_import)
    find_program(TENON_NANOPB_GENERATOR NAMES nanopb_generator.py nanopb_generator REQUIRED)
    file(GLOB onnx_options CONFIGURE_DEPENDS src/import/onnx/onnx.options)
    set(wire_dir ${PROJECT_BINARY_DIR}/generated/import/onnx)
    file(MAKE_DIRECTORY ${wire_dir})
    add_custom_command(
        OUTPUT ${wire_dir}/onnx.pb.c ${wire_dir}/onnx.pb.h
        COMMAND ${TENON_NANOPB_GENERATOR} --quiet --output-dir=${wire_dir} onnx.proto
        WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}/src/import/onnx
        DEPENDS ${onnx_proto} ${onnx_options}
        COMMENT "Generating the ONNX wire format"
        VERBATIM)
    add_library(tenon_onnx_wire OBJECT ${wire_dir}/onnx.pb.c)
    target_link_libraries(tenon_onnx_wire PRIVATE tenon_flags)
    add_dependencies(tenon_import tenon_onnx_wire)
    list(APPEND tenon_objects $<TARGET_OBJECTS:tenon_onnx_wire>)
endif()

# Text files that the code generator embeds; may add sources to the room targets.
include(cmake/embed.cmake OPTIONAL)

# What caches know this state of the sources by.
include(cmake/build_id.cmake)

# The built-in machines.
file(GLOB machine_files CONFIGURE_DEPENDS machines/*.json)
set(machine_source ${PROJECT_BINARY_DIR}/generated/machine/builtin.c)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/generated/machine)
tn_embed(${machine_source} tn__builtin_machines ${machine_files})
target_sources(tenon_machine PRIVATE ${machine_source})

add_library(tenon_static STATIC ${tenon_objects})
add_library(tenon_shared SHARED ${tenon_objects})
foreach(library tenon_static tenon_shared)
    set_target_properties(${library} PROPERTIES OUTPUT_NAME tenon LINKER_LANGUAGE C)
    target_include_directories(${library} INTERFACE
        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
        $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
set_target_properties(tenon_shared PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
target_link_libraries(tenon_static PUBLIC tenon_libraries)
target_link_libraries(tenon_shared PRIVATE tenon_libraries)
if(TENON_SANITIZE)
    target_link_options(tenon_shared PUBLIC -fsanitize=${TENON_SANITIZE})
else()
    target_link_options(tenon_shared PRIVATE -Wl,-z,defs -Wl,--exclude-libs,ALL)
endif()

add_custom_target(product DEPENDS tenon_static tenon_shared)

# The command: its parts as a library, which tests link too, and main.c.
file(GLOB sources CONFIGURE_DEPENDS src/cli/*.c)
list(REMOVE_ITEM sources ${PROJECT_SOURCE_DIR}/src/cli/main.c)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/generated/cli)
tn_embed(${PROJECT_BINARY_DIR}/generated/cli/inspect_page.c cli_inspect_page
    ${PROJECT_SOURCE_DIR}/src/cli/page/inspect.html)
tn_embed(${PROJECT_BINARY_DIR}/generated/cli/train_page.c cli_train_page
    ${PROJECT_SOURCE_DIR}/src/cli/page/train.html)
tn_embed(${PROJECT_BINARY_DIR}/generated/cli/explore_page.c cli_explore_page
    ${PROJECT_SOURCE_DIR}/src/cli/page/explore.html)
set(emit_dir ${PROJECT_SOURCE_DIR}/src/cli/emit)
tn_embed(${PROJECT_BINARY_DIR}/generated/cli/emit_runtime.c cli_emit_runtime
    ${emit_dir}/1_types.inc ${emit_dir}/2_helpers.inc ${emit_dir}/3_api.inc)
add_library(tenon_cli STATIC EXCLUDE_FROM_ALL ${sources}
    ${PROJECT_BINARY_DIR}/generated/cli/inspect_page.c
    ${PROJECT_BINARY_DIR}/generated/cli/train_page.c
    ${PROJECT_BINARY_DIR}/generated/cli/explore_page.c
    ${PROJECT_BINARY_DIR}/generated/cli/emit_runtime.c)
target_link_libraries(tenon_cli PRIVATE tenon_static tenon_flags tenon_warnings)
add_executable(tenon src/cli/main.c)
target_link_libraries(tenon PRIVATE tenon_cli tenon_static tenon_flags tenon_warnings)
add_dependencies(product tenon)

# The examples use the public headers and the shared library.
file(GLOB TENON_EXAMPLES CONFIGURE_DEPENDS examples/*.c)
foreach(source IN LISTS TENON_EXAMPLES)
    cmake_path(GET source STEM name)
    add_executable(example_${name} ${source})
    set_target_properties(example_${name} PROPERTIES
        OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/examples)
    target_compile_features(example_${name} PRIVATE c_std_11)
    target_link_libraries(example_${name} PRIVATE tenon_shared tenon_warnings m)
    add_dependencies(product example_${name})
endforeach()
