#include "model/rope.h"

#include <math.h>

static const double two_pi = 6.283185307179586;

/* Llama 3.1: long wavelengths are stretched by the factor, short ones kept, those between blended. */
static double scale_llama3(const r2i_rope_config *rope, double inv_freq) {
    const double wavelength = two_pi / inv_freq;
    if (wavelength < rope->original_context / rope->high_freq_factor) return inv_freq;
    if (wavelength > rope->original_context / rope->low_freq_factor) return inv_freq / rope->factor;
    const double t = (rope->original_context / wavelength - rope->low_freq_factor) /
                     (rope->high_freq_factor - rope->low_freq_factor);
    return (1 - t) * inv_freq / rope->factor + t * inv_freq;
}

/* Dimension at which `rotations` full turns fit into the original context (YaRN, Peng et al. 2023). */
static double yarn_dimension(const r2i_rope_config *rope, double rotations) {
    return rope->d * log(rope->original_context / (rotations * two_pi)) / (2 * log(rope->theta));
}

static void yarn_bounds(const r2i_rope_config *rope, double *low, double *high) {
    *low = fmax(floor(yarn_dimension(rope, rope->beta_fast)), 0);
    *high = fmin(ceil(yarn_dimension(rope, rope->beta_slow)), rope->d - 1);
    if (*low == *high) *high += 0.001;
}

static double scale_yarn(const r2i_rope_config *rope, double inv_freq, int32_t i, double low,
                         double high) {
    const double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
    return inv_freq / rope->factor * ramp + inv_freq * (1 - ramp);
}

void r2i_rope_frequencies(const r2i_rope_config *rope, double *inv_freq, double *attention_factor) {
    double low = 0, high = 1;
    *attention_factor = 1;
    if (rope->kind == R2I_ROPE_YARN) {
        yarn_bounds(rope, &low, &high);
        const double derived = rope->factor <= 1 ? 1 : 0.1 * log(rope->factor) + 1;
        *attention_factor = rope->attention_factor > 0 ? rope->attention_factor : derived;
    }
    for (int32_t i = 0; i < rope->d / 2; i++) {
        double f = pow(rope->theta, -2.0 * i / rope->d);
        if (rope->divisors != NULL) f /= (double)rope->divisors[i];
        switch (rope->kind) {
        case R2I_ROPE_PLAIN:
            break;
        case R2I_ROPE_LINEAR:
            f /= rope->factor;
            break;
        case R2I_ROPE_LLAMA3:
            f = scale_llama3(rope, f);
            break;
        case R2I_ROPE_YARN:
            f = scale_yarn(rope, f, i, low, high);
            break;
        }
        inv_freq[i] = f;
    }
}

void r2i_rope_row(float *cosine, float *sine, const double *inv_freq, double attention_factor,
                  int32_t d, int32_t position) {
    for (int32_t i = 0; i < d / 2; i++) {
        const double angle = position * inv_freq[i];
        cosine[i] = (float)(cos(angle) * attention_factor);
        sine[i] = (float)(sin(angle) * attention_factor);
    }
}
