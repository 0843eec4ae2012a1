/* measure_text.h - a text for measuring models where the user gives none. */
#ifndef R2I_MEASURE_TEXT_H
#define R2I_MEASURE_TEXT_H

/* Paragraphs of prose, code and other languages, about 1,500 tokens; NULL behind the last. */
extern const char *const r2i_measure_text[];
#endif
