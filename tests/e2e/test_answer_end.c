/* test_answer_end.c - where an answer in tags ends: with its closing tag, however tokens cut it, and not in
 * thoughts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "r2lm/text.h"
#include "toy_engine.h"
#include "train/reinforce/answer_end.h"

enum { CAP = 256 };

/* After how many tokens of the text the answer has ended; 0: it has not.  In pieces of at most `width` bytes. */
static int32_t end_of(const char *text, size_t width, int32_t *n_all) {
    r2_error err;
    r2_token tokens[CAP];
    r2i_heap heap;
    r2i_buffer room;
    int32_t n = 0, first = 0;
    r2i_heap_init(&heap);
    r2i_buffer_init(&room, &heap, 1 << 16);
    for (size_t at = 0, left = strlen(text); left > 0;) {
        const size_t n_bytes = left < width ? left : width;
        int32_t n_more = 0;
        must(r2_tokenize(toy.model, text + at, n_bytes, 0, tokens + n, CAP - n, &n_more, &err),
             &err);
        n += n_more;
        at += n_bytes;
        left -= n_bytes;
    }
    for (int32_t i = 1; i <= n && first == 0; i++) {
        if (r2i_answer_has_end(toy.model, tokens, i, &room)) first = i;
    }
    r2i_buffer_destroy(&room);
    *n_all = n;
    return first;
}

static void check_end(const char *text, bool is_last) {
    for (size_t width = 1; width < 64; width += 5) {
        int32_t n;
        const int32_t end = end_of(text, width, &n);
        if (end != (is_last ? n : 0)) fail_msg("\"%s\", width %zu: %d of %d", text, width, end, n);
    }
}

static void test_end(void **state) {
    int32_t n;
    (void)state;
    check_end("It is <answer>42</answer>", true);
    check_end("<think>Is it 41? No.</think>\n<answer>42</answer>", true);
    check_end("<think>Is it <answer>41</answer>? No, it is 42", false);
    check_end("<think>Is it <answer>41</answer>?</think> It is 42", false);
    check_end("<think><answer>41</answer></think><answer>42</answer>", true);
    check_end("It is 42</answer>", false);
    check_end("It is <answer>42", false);
    check_end("", false);
    const int32_t end = end_of("<answer>1</answer> and more, and <answer>2</answer>", 64, &n);
    assert_in_range(end, 3, n - 3);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_end) };
    return cmocka_run_group_tests(tests, open_toy, close_toy);
}
