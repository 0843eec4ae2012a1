/* The first byte chooses a kind of answer or a task with a judge of its own, the second what it is compared
 * with; the bytes behind it are what a model said.  Nothing runs: programs are not among the kinds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "r2lm/task.h"
#include "base/json_escape.h"

enum { MAX_BYTES = 1 << 16 };

static const struct {
    r2_grade_kind kind;
    const char *expected[4];
} kinds[] = {
    { R2_GRADE_EXACT, { "Ann, Ben", "42", "", "\xe2\x91\xa0" } },
    { R2_GRADE_NUMBER, { "42", "3/4", "1,234.5", "50%" } },
    { R2_GRADE_CHOICE, { "A", "B", "(C)", "I" } },
    { R2_GRADE_JSON, { "[1, 2]", "{\"a\": 1.0}", "{\"any_of\": [1, \"x\"]}", "null" } },
    { R2_GRADE_REGEX, { "a+b", "(x|y)*z", "\\d{3}", "." } },
};
static const char *const countdown[] = { "40 3, 4, 7", "1 1", "24 2, 3, 4, 5, 6", "0 0, 0" },
                         *const words[] = { "one hundred five", "quatre-vingts", "二百零五", "f0" };

/* What any bytes become is a string of JSON without line feeds. */
static void check_escape(const char *text, size_t n) {
    r2i_heap heap;
    r2i_buffer out;
    r2i_heap_init(&heap);
    r2i_buffer_init(&out, &heap, 8 * MAX_BYTES);
    if (r2i_json_escape(&out, text, n, NULL) != R2_OK) abort();
    if (memchr(out.bytes, '\n', out.n_bytes) != NULL || strlen(out.bytes) != out.n_bytes) abort();
    r2i_buffer_destroy(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    enum { N_KINDS = sizeof kinds / sizeof *kinds };
    static const char *const languages[] = { "en", "de", "fr", "es", "zh" };
    r2_error err = { R2_OK, "" };
    r2_grade grade;
    r2_status status;
    if (n_bytes < 2 || n_bytes > MAX_BYTES) return 0;
    const char *text = (const char *)bytes + 2;
    const size_t n = n_bytes - 2, which = bytes[0] % (N_KINDS + 2), other = bytes[1] % 4;
    if (which == N_KINDS) {
        status = r2_task_grade(&grade, "countdown", countdown[other], text, n, NULL, &err);
    } else if (which > N_KINDS) {
        status = r2_task_grade(&grade, "numeral", words[other], text, n, NULL, &err);
    } else {
        const r2_grade_options o = { .kind = kinds[which].kind,
                                     .expected = kinds[which].expected[other] };
        status = r2_grade_answer(&grade, text, n, &o, &err);
    }
    if (status != R2_OK || grade.score != (grade.is_right ? 1 : 0)) abort();
    if (grade.is_right && !grade.is_found) abort();
    const double share = r2_language_share(text, n, languages[bytes[0] % 5]);
    if (!(share >= 0 && share <= 1)) abort();
    check_escape(text, n);
    return 0;
}
