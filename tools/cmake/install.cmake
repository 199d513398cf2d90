# For C programs: find_package(spotlight_attention), then link spotlight_attention::attention. The library is the fastest
# that runs on every machine of this kind, with threads; without SIMDe, the scalar one.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(TARGET attn_simd-threads)
    set(installed attn_simd-threads)
else()
    set(installed attn_scalar)
endif()
set_target_properties(${installed} PROPERTIES EXPORT_NAME attention OUTPUT_NAME spotlight_attention EXCLUDE_FROM_ALL OFF)
add_library(spotlight_attention::attention ALIAS ${installed})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/spotlight_attention)
install(TARGETS ${installed} EXPORT spotlight_attention ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/attn.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT spotlight_attention FILE spotlight_attentionConfig.cmake NAMESPACE spotlight_attention::
    DESTINATION ${package_dir})
write_basic_package_version_file(spotlight_attentionConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/spotlight_attentionConfigVersion.cmake DESTINATION ${package_dir})
