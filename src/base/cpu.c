#define _GNU_SOURCE /* sched_getaffinity, syscall */
#include "base/cpu.h"

#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static const char *const level_names[R2I_N_LEVELS] = { "ref", "portable", "avx2", "avx512", "amx" };

const char *r2i_level_name(r2i_level level) {
    return level_names[level];
}

int r2i_level_find(const char *name) {
    for (int i = 0; i < R2I_N_LEVELS; i++) {
        if (strcmp(name, level_names[i]) == 0) return i;
    }
    return -1;
}

int32_t r2i_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int32_t)n : 1;
}

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>

enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has(uint32_t word, int bit) {
    return (word >> bit & 1u) != 0;
}
static bool all(uint64_t word, uint64_t mask) {
    return (word & mask) == mask;
}

static void read_brand(char brand[64]) {
    uint32_t words[12] = { 0 };
    if ((unsigned)__get_cpuid_max(0x80000000u, NULL) < 0x80000004u) return; /* an int in clang */
    for (uint32_t i = 0; i < 3; i++) {
        __cpuid(0x80000002u + i, words[4 * i], words[4 * i + 1], words[4 * i + 2],
                words[4 * i + 3]);
    }
    const char *text = (const char *)words;
    size_t start = 0;
    while (start < sizeof words && text[start] == ' ')
        start++;
    memset(brand, 0, 64);
    memcpy(brand, text + start, sizeof words - start);
}

void r2i_cpu_detect(r2i_cpu *cpu) {
    *cpu = (r2i_cpu){ .level = R2I_LEVEL_PORTABLE, .brand = "unknown" };
    uint32_t a, b, c, d, a7, b7, c7, d7, a71 = 0, b71 = 0, c71 = 0, d71 = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    read_brand(cpu->brand);
    const bool has_os_save = has(c, 27), has_avx_fma_f16c = has(c, 28) && has(c, 12) && has(c, 29);
    if (!has_os_save || !has_avx_fma_f16c || !__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7)) return;
    if (a7 >= 1) (void)__get_cpuid_count(7, 1, &a71, &b71, &c71, &d71);
    const uint64_t xcr0 = read_xcr0();
    if (!all(xcr0, 0x6) || !has(b7, 5)) return;
    cpu->level = R2I_LEVEL_AVX2;
    if (has(a71, 4)) cpu->features |= R2I_CPU_AVX_VNNI;
    const bool f = has(b7, 16), dq = has(b7, 17), bw = has(b7, 30), vl = has(b7, 31),
               vnni = has(c7, 11);
    if (!all(xcr0, 0xe6) || !(f && dq && bw && vl && vnni)) return;
    cpu->level = R2I_LEVEL_AVX512;
    if (has(a71, 5)) cpu->features |= R2I_CPU_AVX512_BF16;
    if (has(c7, 1)) cpu->features |= R2I_CPU_AVX512_VBMI;
    const bool has_tiles = has(d7, 22) && has(d7, 24) && has(d7, 25) && all(xcr0, 0x60000);
    if (!has_tiles || !has(a71, 5)) return;
    if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) != 0) return;
    cpu->level = R2I_LEVEL_AMX;
}
#else
void r2i_cpu_detect(r2i_cpu *cpu) {
    *cpu = (r2i_cpu){ .level = R2I_LEVEL_PORTABLE, .brand = "unknown" };
}
#endif
