/* e^x in float64, in place of the C library's, whose table of 2 KB no compression makes smaller.
 * With expm1, which tanh needs anyway: e^x = 2^k (1 + expm1(x - k ln 2)); the error stays below one
 * unit in the last place. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LOG2_E 0x1.71547652b82fep0
#define LN2_HIGH 0x1.62e42feep-1 /* times |k| < 2^11 exact */
#define LN2_LOW 0x1.a39ef35793c76p-33

/* 2^k, -1022 <= k <= 1023 */
static double power_of_2(int k) {
    const uint64_t bits = (uint64_t)(k + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

double exp(double x) {
    if (x != x)
        return x;
    /* Beyond these the result is infinite or 0, and k would be too large. */
    if (x > 710.0)
        x = 710.0;
    if (x < -746.0)
        x = -746.0;
    const int k = (int)rint(x * LOG2_E);
    const double y = 1.0 + expm1((x - k * LN2_HIGH) - k * LN2_LOW);
    const int half = k / 2;
    return y * power_of_2(half) * power_of_2(k - half);
}
