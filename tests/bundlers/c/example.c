#include <attn.h>
#include <stdio.h>

int main(void) {
    const double query[2] = {1, 0}, keys[4] = {1, 0, 0, 1}, values[4] = {10, 20, 30, 40};
    double scores[2], weights[2], out[2];
    attn_status status =
        attn_attention_f64(2, 2, 2, 1.0, query, keys, values, scores, weights, out);
    printf("%s %.4f %.4f\n", attn_variant(), out[0], out[1]);
    return status;
}
