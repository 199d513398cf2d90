# The kernels that ship, compiled for this machine: SIMDe gives wasm_simd128.h in portable C.
include(CheckCSourceRuns)

if(ATTN_NATIVE_SIMD)
    find_path(SIMDE_INCLUDE_DIR simde/wasm/simd128.h)
    if(NOT SIMDE_INCLUDE_DIR)
        message(FATAL_ERROR "The native SIMD variants need SIMDe: apt-get install libsimde-dev, or configure with -DATTN_NATIVE_SIMD=OFF")
    endif()
endif()

# fma_flags: what makes the compiler use fused multiply-adds, or "none" where the processor has none.
# x86 has them since 2013 and must be asked; arm64 always has them.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    check_c_source_runs("int main(void) { return !__builtin_cpu_supports(\"fma\"); }" ATTN_HAVE_FMA)
    if(ATTN_HAVE_FMA)
        set(fma_flags -mfma)
    else()
        set(fma_flags none)
    endif()
else()
    set(fma_flags "")
endif()
