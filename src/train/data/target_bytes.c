#include "train/data/target_bytes.h"

int64_t r2i_target_bytes(const r2_model *model, const int32_t *targets, int32_t n) {
    int64_t sum = 0;
    for (int32_t i = 0; i < n; i++) {
        if (targets[i] >= 0 && !r2_token_is_control(model, targets[i]))
            sum += (int64_t)r2_token_bytes(model, targets[i], NULL, 0);
    }
    return sum;
}
