/* replay_seeds.c - runs a fuzz target over its seed folder as a plain test, without libFuzzer.
 *
 * Every seed runs as it is, cut short at up to MAX_CUTS places, and with up to MAX_FLIPS single
 * bytes changed: cheap, repeatable, enough to notice a parser that has lost a bounds check. */
#define _POSIX_C_SOURCE 200809L /* opendir, readdir */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum { MAX_CUTS = 48, MAX_FLIPS = 96, MAX_PATH_BYTES = 4096, MAX_SEED_BYTES = 1 << 24 };

static const uint8_t FLIPS[] = {0x00, 0xff, 0x7f, 0x80, 0x01, '"'};

static uint8_t *read_all(const char *path, size_t *n_bytes) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(MAX_SEED_BYTES);
    *n_bytes = 0;
    if (file != NULL && data != NULL) *n_bytes = fread(data, 1, MAX_SEED_BYTES, file);
    if (file == NULL || data == NULL || ferror(file)) {
        fprintf(stderr, "replay_seeds: cannot read %s\n", path);
        exit(1);
    }
    fclose(file);
    return data;
}

/* A copy of exactly n_bytes, so that AddressSanitizer sees every byte read behind the end. */
static void run_exact(const uint8_t *data, size_t n_bytes) {
    uint8_t *copy = malloc(n_bytes + (n_bytes == 0));
    if (copy == NULL) exit(1);
    memcpy(copy, data, n_bytes);
    LLVMFuzzerTestOneInput(copy, n_bytes);
    free(copy);
}

static void replay(const char *path) {
    size_t n_bytes;
    uint8_t *data = read_all(path, &n_bytes);
    const size_t n_cuts = n_bytes < MAX_CUTS ? n_bytes : MAX_CUTS;
    const size_t n_flips = n_bytes < MAX_FLIPS ? n_bytes : MAX_FLIPS;
    run_exact(data, n_bytes);
    for (size_t i = 0; i < n_cuts; i++)
        run_exact(data, n_bytes * i / n_cuts);
    for (size_t i = 0; i < n_flips; i++) {
        const size_t at = n_bytes * i / n_flips;
        const uint8_t kept = data[at];
        data[at] = FLIPS[i % sizeof FLIPS];
        run_exact(data, n_bytes);
        data[at] = kept;
    }
    free(data);
}

int main(int argc, char **argv) {
    int n_seeds = 0;
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (folder == NULL) {
        fprintf(stderr, "replay_seeds: expected one seed folder, found %s\n",
                argc == 2 ? argv[1] : "none");
        return 1;
    }
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[MAX_PATH_BYTES];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        replay(path);
        n_seeds++;
    }
    closedir(folder);
    printf("%d seeds\n", n_seeds);
    return n_seeds > 0 ? 0 : 1; /* a folder without seeds proves nothing */
}
