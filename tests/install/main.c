/* A program outside the tree: uses the installed headers and library only. */
#include <tenon/status.h>
#include <tenon/type.h>

#include <stdio.h>
#include <string.h>

int main(void) {
    tn_error err = TN_ERROR_INIT;
    char text[TN_ERROR_TEXT];
    tn_dtype dtype;
    if (!tn_dtype_parse("bf16", &dtype) || tn_dtype_size(dtype) != 2) return 1;
    if (tn_error_set(&err, TN_INVALID, "no %s", "model") != TN_INVALID) return 1;
    tn_error_push(&err, "while loading");
    tn_error_format(&err, text, sizeof text);
    if (strcmp(text, "while loading: no model") != 0) return 1;
    printf("the installed library works: %s has %d bits\n", tn_dtype_name(dtype),
           tn_dtype_bits(dtype));
    return 0;
}
