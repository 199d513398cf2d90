# What Emscripten is asked for: the modules that ship, and the test programs that Node runs.

# The stack of both, so that a kernel which needs more fails a test first.
set(stack_size 256KB)

set(exports_file ${PROJECT_SOURCE_DIR}/src/wasm/exports.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${exports_file})

# Measured and left out: -flto makes the modules up to a tenth larger when gzipped, and gains nothing: the kernels
# are inlined already.
set(module_link_options
    -Oz                         # the linker's own inlining makes larger modules, no faster ones
    --no-entry                  # a library: there is no main
    -sMODULARIZE                # a factory, so that two engines can live side by side
    -sEXPORT_ES6                # ... exported by an ES module that finds its .wasm by new URL()
    -sSTRICT                    # nothing from Emscripten's past
    -sFILESYSTEM=0              # nothing is opened or read
    -sENVIRONMENT=web,worker,node
    -sASSERTIONS=0              # the C side returns status codes
    -sALLOW_MEMORY_GROWTH       # one page may hold ten tokens or thirty thousand
    -sINITIAL_MEMORY=1MB        # instant start; the first large tensor grows it
    -sMAXIMUM_MEMORY=4GB        # all that 32-bit addresses reach
    -sSTACK_SIZE=${stack_size}  # tiles and softmax state live here; the default is 64 KB
    -sMALLOC=emmalloc           # few large blocks: small code matters more than speed
    -sABORTING_MALLOC=0         # out of memory is a status, not the end of the module
    # STRICT accepts no override that is not named here.
    -sINCOMING_MODULE_JS_API=locateFile,instantiateWasm,wasmBinary
    # Memory is viewed from its buffer by web/lib/heap.js alone; Emscripten's own HEAP views stay inside.
    -sEXPORTED_RUNTIME_METHODS=wasmMemory)

set(module_thread_options
    # The loader decides how many: createModule({ pthreadPoolSize: 3 }). The workers are ready when the
    # module is, so that no thread waits for an event loop that its creator is blocking.
    "-sPTHREAD_POOL_SIZE=Module[\"pthreadPoolSize\"]"
    -sPTHREAD_POOL_SIZE_STRICT=0
    # PThread: to end the workers when the engine is disposed of.
    -sEXPORTED_RUNTIME_METHODS=wasmMemory,PThread
    # Growing shared memory makes Emscripten's own glue slower. It moves no tensors.
    -Wno-pthreads-mem-growth)

# use_as_module(target variant): the .mjs and .wasm of one variant, in ATTN_MODULE_DIR.
function(use_as_module target variant)
    file(STRINGS ${exports_file} names REGEX "^[A-Za-z_]")
    list(TRANSFORM names STRIP)
    list(TRANSFORM names PREPEND _)
    list(JOIN names , names)
    set(options ${module_link_options} -sEXPORTED_FUNCTIONS=${names})
    get_target_property(flags attn_${variant} INTERFACE_COMPILE_OPTIONS)
    if("-pthread" IN_LIST flags)
        list(APPEND options ${module_thread_options})
    endif()
    target_link_options(${target} PRIVATE ${options})
    set_target_properties(${target} PROPERTIES
        OUTPUT_NAME ${variant} SUFFIX .mjs RUNTIME_OUTPUT_DIRECTORY ${ATTN_MODULE_DIR})
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
        -sSTACK_SIZE=${stack_size}
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
