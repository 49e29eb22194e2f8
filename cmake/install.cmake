# `cmake --install`: command, libraries, headers, pkg-config file and CMake package.
include(CMakePackageConfigHelpers)

install(TARGETS tenon_shared EXPORT tenon-targets)
install(TARGETS tenon_static tenon_libraries EXPORT tenon-targets)
set_target_properties(tenon_shared PROPERTIES EXPORT_NAME tenon)
set_target_properties(tenon_libraries PROPERTIES EXPORT_NAME tenon_static_needs)
if(TARGET tenon)
    install(TARGETS tenon)
endif()
install(DIRECTORY include/tenon DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(DIRECTORY machines DESTINATION ${CMAKE_INSTALL_DATADIR}/tenon)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tenon)
install(EXPORT tenon-targets NAMESPACE tenon:: DESTINATION ${package_dir})
configure_package_config_file(cmake/tenon-config.cmake.in
    ${PROJECT_BINARY_DIR}/package/tenon-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/tenon-config-version.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/tenon-config.cmake
    ${PROJECT_BINARY_DIR}/package/tenon-config-version.cmake DESTINATION ${package_dir})

# The prefix is found from the place of the file, so that an installed tree can be moved.
file(RELATIVE_PATH TENON_PC_TO_PREFIX
    ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/tenon.pc.in ${PROJECT_BINARY_DIR}/package/tenon.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/package/tenon.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
