#include "attn.h"

const char *attn_status_name(attn_status status) {
    switch (status) {
    case ATTN_OK:
        return "ok";
    case ATTN_ERR_NULL:
        return "a required pointer is NULL";
    case ATTN_ERR_SHAPE:
        return "a size is negative, or zero where it must be positive";
    case ATTN_ERR_HEADS:
        return "the head counts do not divide";
    case ATTN_ERR_OPTION:
        return "an option has an undefined value";
    case ATTN_ERR_SIZE:
        return "the sizes exceed the address space";
    case ATTN_ERR_WORKSPACE:
        return "the workspace is missing, misaligned or too small";
    case ATTN_ERR_LENGTH:
        return "a key length is out of range";
    case ATTN_ERR_MEMORY:
        return "out of memory or threads";
    case ATTN_ERR_UNSUPPORTED:
        return "not supported";
    }
    return "unknown status";
}
