/* grade_programs.c - answers that are Python code: run in the sandbox, never anywhere else.
 *
 * A small driver reads the answer from a file of its own.  That the tests came to their end is told by a
 * number which the driver got on standard input before the answer ran: code that leaves early, or prints
 * what a test would, does not know it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failure.h"
#include "base/hash.h"
#include "task/grade_job.h"

enum { TOKEN_BYTES = 40, OUTPUT_SHOWN = 160 };

static const char driver[] = "import sys, os\n"
                             "sys.path.pop(0)\n"
                             "def main():\n"
                             "    token = sys.stdin.readline()\n"
                             "    out = os.fdopen(os.dup(1), 'w')\n"
                             "    null = os.open('/dev/null', os.O_RDWR)\n"
                             "    os.dup2(null, 0), os.dup2(null, 1)\n"
                             "    space = {'__name__': 'answer'}\n"
                             "    code, tests = open('answer.py').read(), open('tests.py').read()\n"
                             "    os.unlink('tests.py')\n" /* nothing to copy from */
                             "    exec(compile(code, 'answer.py', 'exec'), space)\n"
                             "    exec(compile(tests, 'tests.py', 'exec'), space)\n"
                             "    out.write(token)\n"
                             "    out.flush()\n"
                             "main()\n";

/* Processor time ends an endless loop, and the clock what waits for nothing; what computes has far more of
 * it: how busy the machine is must not decide what is right. */
static r2_sandbox_limits limits_of(const r2_grade_options *o) {
    r2_sandbox_limits l = o->limits;
    if (l.cpu_seconds <= 0) l.cpu_seconds = 4;
    if (l.wall_seconds <= 0) l.wall_seconds = 60;
    if (l.idle_seconds <= 0) l.idle_seconds = 10;
    if (l.memory_bytes <= 0) l.memory_bytes = 256 << 20;
    return l;
}

static r2_status run(const r2i_grade_job *j, const r2_sandbox_file *files, int32_t n_files,
                     const char *input, r2_sandbox_result *result) {
    /* Sets and dictionaries of texts are gone through in the same order every time. */
    static const char *const arguments[] = { "python3", "-s", "-B", "main.py", NULL };
    static const char *const environment[] = { "PYTHONHASHSEED=0", NULL };
    const r2_sandbox_options options = { .arguments = arguments,
                                         .environment = environment,
                                         .files = files,
                                         .n_files = n_files,
                                         .input = input,
                                         .n_input = input != NULL ? strlen(input) : 0,
                                         .limits = limits_of(j->options),
                                         .host = j->options->host };
    return r2_sandbox_run(result, &options, j->err);
}

/* The last line of what went wrong, or the limit. */
static void explain(const r2i_grade_job *j, const r2_sandbox_result *r) {
    char *why = j->grade->why;
    const r2i_span err = r2i_span_trim((r2i_span){ r->err, r->n_err });
    const char *line = r2i_span_last(err, "\n");
    if (r->end != R2_ENDED_EXIT) {
        (void)snprintf(why, R2_GRADE_TEXT_BYTES, "ended by %s", r2_sandbox_end_name(r->end));
    } else if (err.n > 0) {
        line = line != NULL ? line + 1 : err.text;
        (void)snprintf(
            why, R2_GRADE_TEXT_BYTES, "%.*s",
            (int)(err.text + err.n - line < OUTPUT_SHOWN ? err.text + err.n - line : OUTPUT_SHOWN),
            line);
    } else {
        (void)snprintf(why, R2_GRADE_TEXT_BYTES, "printed \"%.*s\"",
                       (int)(r->n_out < OUTPUT_SHOWN ? r->n_out : OUTPUT_SHOWN), r->out);
    }
}

static void finish(const r2i_grade_job *j, bool is_right, r2_sandbox_result *r) {
    j->grade->has_form = j->found.has_code;
    j->grade->is_right = j->grade->is_found = is_right;
    if (!is_right) explain(j, r);
    r2_sandbox_free(r, &j->options->host);
}

r2_status r2i_grade_stdout(const r2i_grade_job *j) {
    const r2_sandbox_file file = { "main.py", j->found.code.text, j->found.code.n };
    const r2i_span expected = { j->options->expected, strlen(j->options->expected) };
    r2_sandbox_result r;
    R2I_TRY(run(j, &file, 1, j->options->input, &r));
    const bool is_right = r.end == R2_ENDED_EXIT && r.exit_code == 0 &&
                          r2i_is_same_text(j->arena, (r2i_span){ r.out, r.n_out }, expected);
    finish(j, is_right, &r);
    return R2_OK;
}

r2_status r2i_grade_python(const r2i_grade_job *j) {
    const r2_sandbox_file files[] = { { "main.py", driver, sizeof driver - 1 },
                                      { "answer.py", j->found.code.text, j->found.code.n },
                                      { "tests.py", j->options->expected,
                                        strlen(j->options->expected) } };
    const int64_t now = r2i_clock_ns();
    char token[TOKEN_BYTES];
    r2_sandbox_result r;
    (void)snprintf(token, sizeof token, "%016" PRIx64 "\n",
                   r2i_hash_bytes((uint64_t)(uintptr_t)&r, &now, sizeof now));
    R2I_TRY(run(j, files, 3, token, &r));
    const bool is_right = r.end == R2_ENDED_EXIT && r.exit_code == 0 && r.n_out == strlen(token) &&
                          memcmp(r.out, token, r.n_out) == 0;
    finish(j, is_right, &r);
    return R2_OK;
}

r2_status r2i_grade_try_programs(const r2_host *host, r2_error *err) {
    r2_grade grade;
    const r2_grade_options options = {
        .kind = R2_GRADE_PYTHON, .expected = "pass", .is_plain = true, .host = *host
    };
    const r2_status status = r2_grade_answer(&grade, "pass", 4, &options, err);
    if (status == R2_E_NOT_FOUND)
        return r2i_fail(err, R2_E_SANDBOX, "answers are Python, which was not found");
    if (status != R2_OK || grade.is_right) return status;
    return r2i_fail(err, R2_E_SANDBOX,
                    "answers are Python for the sandbox, which does not work here: %.120s",
                    grade.why);
}
