/* command_about.c - `r2lm version` and `r2lm licenses`. */
#include <stdio.h>

#include "base/cpu.h"
#include "cli/program.h"

int r2i_version_command(r2i_program *p) {
    r2i_cpu cpu;
    if (!p->options->wants_json) {
        printf("r2lm " R2LM_VERSION "\n");
        return R2I_EXIT_OK;
    }
    r2i_cpu_detect(&cpu);
    return r2i_program_print_json(p, json_pack("{s:s, s:s, s:s, s:s}", "name", "r2lm", "version",
                                               R2LM_VERSION, "cpu_level", r2i_level_name(cpu.level),
                                               "compiler", __VERSION__));
}

int r2i_licenses_command(r2i_program *p) {
    static const struct {
        const char *name, *license, *use;
    } parts[] = {
        { "r2lm", "MIT", "this program and its library" },
        { "jansson", "MIT", "JSON" },
        { "PCRE2", "BSD-3-Clause with exception", "pre-tokenizer patterns" },
        { "utf8proc", "MIT and Unicode", "Unicode normalization" },
#ifdef R2LM_HAVE_LIBEDIT
        { "libedit", "BSD-3-Clause", "line editing" },
#endif
#ifdef R2LM_HAVE_LIBEVENT
        { "libevent", "BSD-3-Clause", "HTTP" },
#endif
#ifdef R2LM_HAVE_CRYPTO
        { "OpenSSL", "Apache-2.0", "checksums" },
#endif
    };
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!p->options->wants_json)
            printf("%-10s %-28s %s\n", parts[i].name, parts[i].license, parts[i].use);
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:s, s:s}", "name", parts[i].name, "license",
                                              parts[i].license, "use", parts[i].use));
    }
    if (p->options->wants_json) return r2i_program_print_json(p, json_pack("{s:o}", "parts", list));
    json_decref(list);
    return R2I_EXIT_OK;
}
