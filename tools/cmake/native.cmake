# The kernels that ship, compiled for this machine: SIMDe gives wasm_simd128.h in portable C.
include(CheckCSourceCompiles)
include(CheckCSourceRuns)

if(ATTN_NATIVE_SIMD)
    find_path(SIMDE_INCLUDE_DIR simde/wasm/simd128.h)
    if(NOT SIMDE_INCLUDE_DIR)
        message(FATAL_ERROR "The native SIMD variants need SIMDe: apt-get install libsimde-dev, or configure with -DATTN_NATIVE_SIMD=OFF")
    endif()
endif()

# relaxed_flags: what makes the compiler fuse the multiply-adds that the kernels ask for.
# x86 has them since 2013 and must be asked; arm64 always has them.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    check_c_source_runs("int main(void) { return !__builtin_cpu_supports(\"fma\"); }" ATTN_HAVE_FMA)
    if(NOT ATTN_HAVE_FMA)
        message(STATUS "This processor has no fused multiply-add: no native variant 'relaxed'")
        return()
    endif()
    set(relaxed_flags -mfma)
else()
    set(relaxed_flags "")
endif()

# The kernels write the instruction's present name. SIMDe before 0.8 knows it as fma(a, b, c) = a + b * c.
if(ATTN_NATIVE_SIMD)
    set(CMAKE_REQUIRED_INCLUDES ${SIMDE_INCLUDE_DIR})
    check_c_source_compiles("
        #define SIMDE_ENABLE_NATIVE_ALIASES
        #include <simde/wasm/simd128.h>
        #include <simde/wasm/relaxed-simd.h>
        int main(void) { v128_t a = wasm_f32x4_splat(1); return !wasm_v128_any_true(wasm_f32x4_relaxed_madd(a, a, a)); }
        " ATTN_SIMDE_HAS_RELAXED_MADD)
    if(NOT ATTN_SIMDE_HAS_RELAXED_MADD)
        list(APPEND relaxed_flags "-Dwasm_f32x4_relaxed_madd(a,b,c)=simde_wasm_f32x4_fma(c,a,b)")
    endif()
endif()
