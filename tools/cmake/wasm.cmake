# What Emscripten is asked for: the modules that ship, and the test programs that Node runs.

# The stack of both, so that a kernel which needs more fails a test first.
set(stack_bytes 262144)

set(exports_file ${PROJECT_SOURCE_DIR}/src/wasm/exports.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${exports_file})

# A module is what the linker makes of the library: no runtime of Emscripten's, no JavaScript beside it, and no
# import, or two with threads. web/lib/variants.js instantiates it.
function(ask_emscripten variable what)
    execute_process(COMMAND "${EMSCRIPTEN_ROOT_PATH}/em-config" ${what}
        OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
    set(${variable} "${answer}" PARENT_SCOPE)
endfunction()
ask_emscripten(llvm LLVM_ROOT)
ask_emscripten(binaryen BINARYEN_ROOT)
ask_emscripten(emscripten_cache CACHE)
set(emscripten_libraries "${emscripten_cache}/sysroot/lib/wasm32-emscripten")
if(NOT EXISTS "${emscripten_libraries}/libc.a" OR NOT EXISTS "${emscripten_libraries}/libc_optz.a")
    execute_process(COMMAND "${EMSCRIPTEN_ROOT_PATH}/embuilder" build libc libc_optz COMMAND_ERROR_IS_FATAL ANY)
endif()

set(link_options
    --no-entry                      # a library: there is no main
    --initial-memory=1048576        # instant start; the first large tensor grows it
    --max-memory=4294901760         # all that 32-bit addresses reach, less a page: so that the end has an address
    -z stack-size=${stack_bytes}    # tiles and softmax state live here
    --stack-first                   # ... below everything: beyond its end is nothing, and that traps
    "-L${emscripten_libraries}")
set(thread_link_options --shared-memory --import-memory --export=__stack_pointer
    --export=wasm_thread_stack --export=wasm_thread_run)

# Measured: with these the modules are 3 % smaller when gzipped, and as fast; the second -Oz is 0.7 % of it. Ordered
# by name, functions that are alike lie together. Left out: -flto, which makes them up to a tenth larger, and
# --ignore-implicit-traps, which moves divisions before what guards them.
set(optimizer_options
    --one-caller-inline-max-function-size 1 -Oz -Oz --low-memory-unused
    --reorder-functions-by-name --strip-debug --strip-producers --strip-target-features)

# add_module(variant): <variant>.wasm, in ATTN_MODULE_DIR.
function(add_module variant)
    file(STRINGS ${exports_file} names REGEX "^[A-Za-z_]")
    list(TRANSFORM names STRIP)
    list(TRANSFORM names PREPEND --export=)
    set(options ${link_options} ${names})
    get_target_property(flags attn_${variant} INTERFACE_COMPILE_OPTIONS)
    if("-pthread" IN_LIST flags)
        list(APPEND options ${thread_link_options})
    endif()
    set(objects module_objects_${variant})
    add_library(${objects} OBJECT ${module_sources})
    target_link_libraries(${objects} PRIVATE attn_${variant})
    target_include_directories(${objects} PRIVATE src)
    target_compile_options(${objects} PRIVATE $<$<CONFIG:Release>:-Oz>)
    target_compile_definitions(${objects} PRIVATE WASM_STACK_BYTES=${stack_bytes})

    set(linked ${CMAKE_CURRENT_BINARY_DIR}/${variant}.linked.wasm)
    set(module ${ATTN_MODULE_DIR}/${variant}.wasm)
    add_custom_command(OUTPUT ${module}
        COMMAND ${CMAKE_COMMAND} -E make_directory ${ATTN_MODULE_DIR}
        COMMAND "${llvm}/wasm-ld" ${options} $<TARGET_OBJECTS:${objects}> $<TARGET_FILE:attn_${variant}>
            -lc_optz -lc -o ${linked}
        COMMAND "${binaryen}/bin/wasm-opt" ${linked} -o ${module} ${optimizer_options}
        DEPENDS ${objects} $<TARGET_OBJECTS:${objects}> attn_${variant} ${exports_file}
            ${CMAKE_CURRENT_FUNCTION_LIST_FILE}
        COMMAND_EXPAND_LISTS VERBATIM)
    add_custom_target(module_${variant} DEPENDS ${module})
    add_dependencies(modules module_${variant})
endfunction()

# add_tile_loop(variant): tile-<variant>.wasm, beside the linked modules, which `bench --profile` runs; built by the target tile_loops.
add_custom_target(tile_loops)
function(add_tile_loop variant)
    set(objects tile_objects_${variant})
    add_library(${objects} OBJECT EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/bench/tile.c)
    target_link_libraries(${objects} PRIVATE attn_${variant})
    target_include_directories(${objects} PRIVATE src)
    set(module ${CMAKE_CURRENT_BINARY_DIR}/tile-${variant}.wasm)
    add_custom_command(OUTPUT ${module}
        COMMAND "${llvm}/wasm-ld" ${link_options} --export=tile_fill --export=tile_flops --export=tile_loop
            $<TARGET_OBJECTS:${objects}> $<TARGET_FILE:attn_${variant}> -lc -o ${module}
        DEPENDS ${objects} $<TARGET_OBJECTS:${objects}> attn_${variant}
        COMMAND_EXPAND_LISTS VERBATIM)
    add_custom_target(tile_${variant} DEPENDS ${module})
    add_dependencies(tile_loops tile_${variant})
endfunction()

# Node 20 hides relaxed SIMD behind a flag that Node 22 no longer takes.
list(GET CMAKE_CROSSCOMPILING_EMULATOR 0 node)
execute_process(COMMAND ${node} -p "process.versions.v8" OUTPUT_VARIABLE v8_version COMMAND_ERROR_IS_FATAL ANY)

# The test programs are CommonJS, whatever the package around them says.
file(WRITE ${CMAKE_BINARY_DIR}/package.json "{ \"type\": \"commonjs\" }\n")

# use_as_test_program(target variant): a program that Node runs, with Emscripten's checks on.
function(use_as_test_program target variant)
    target_link_options(${target} PRIVATE
        -O1                     # the library is compiled as it ships; a long link would test nothing more
        -sASSERTIONS            # with them the stack's end is watched
        -sSTACK_SIZE=${stack_bytes}
        -sALLOW_MEMORY_GROWTH
        -sMAXIMUM_MEMORY=4GB
        -sABORTING_MALLOC=0
        -sEXIT_RUNTIME          # main's status becomes Node's
        -sENVIRONMENT=node,worker)
    get_target_property(flags attn_${variant} INTERFACE_COMPILE_OPTIONS)
    if("-pthread" IN_LIST flags)
        target_link_options(${target} PRIVATE -sPTHREAD_POOL_SIZE=8 -Wno-pthreads-mem-growth)
    endif()
    if("-mrelaxed-simd" IN_LIST flags AND v8_version MATCHES "^11\\.")
        set_target_properties(${target} PROPERTIES
            CROSSCOMPILING_EMULATOR "${node};--experimental-wasm-relaxed-simd")
    endif()
endfunction()
