# The fuzz targets tests/fuzz/fuzz_*.c against one variant, with clang's libFuzzer: ATTN_FUZZ names the variant.
if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "The fuzz targets need clang: configure with -DCMAKE_C_COMPILER=clang")
endif()
set(fuzz_flags_scalar "")
set(fuzz_flags_simd -DATTN_SIMD_SIMDE=1)
set(fuzz_flags_relaxed -DATTN_SIMD_SIMDE=1 -DATTN_SIMD_RELAXED=1 ${relaxed_flags})

# Clang counts as overflows of pointers two things that are done here and read nothing: NULL + 0, for an input without
# elements, and the step behind the last of rows that lie absurdly far apart.
add_variant(fuzz ${fuzz_flags_${ATTN_FUZZ}} -fsanitize=fuzzer-no-link -fno-sanitize=pointer-overflow)

file(GLOB fuzz_sources CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c)
add_custom_target(fuzz)
foreach(source IN LISTS fuzz_sources)
    cmake_path(GET source STEM target)
    add_executable(${target} ${source})
    target_link_libraries(${target} PRIVATE attn_fuzz)
    target_include_directories(${target} PRIVATE src tests/c tests/fuzz)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzz ${target})
endforeach()
