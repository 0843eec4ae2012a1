/* cpu.h - what the processor and the operating system let us use. */
#ifndef R2I_CPU_H
#define R2I_CPU_H
#include <stdint.h>

/* Levels of the kernel table, each including the ones before.  REF is the judge, not a choice of
 * the automatic selection. */
typedef enum {
    R2I_LEVEL_REF,      /* double sums, textbook code */
    R2I_LEVEL_PORTABLE, /* plain C */
    R2I_LEVEL_AVX2,     /* with FMA and F16C */
    R2I_LEVEL_AVX512,   /* F BW VL DQ VNNI */
    R2I_LEVEL_AMX,      /* INT8 and BF16 tiles */
    R2I_N_LEVELS
} r2i_level;

/* Features beyond what a level implies. */
enum {
    R2I_CPU_AVX_VNNI = 1 << 0,    /* vpdpbusd on 256-bit registers */
    R2I_CPU_AVX512_BF16 = 1 << 1, /* vdpbf16ps */
    R2I_CPU_AVX512_VBMI = 1 << 2
};

typedef struct {
    r2i_level level;   /* best usable level */
    uint32_t features; /* R2I_CPU_* bits */
    char brand[64];    /* processor's own name, or "unknown" */
} r2i_cpu;

/* CPUID and XCR0, and for AMX the kernel's permission (asked for here).  Cheap; call it once. */
void r2i_cpu_detect(r2i_cpu *cpu);
/* "ref", "portable", "avx2", "avx512", "amx". */
const char *r2i_level_name(r2i_level level);
/* Level by name, or -1. */
int r2i_level_find(const char *name);
/* Processors this process may run on (its affinity mask, so cpusets and taskset count). */
int32_t r2i_cpu_count(void);
#endif
