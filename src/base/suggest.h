/* The nearest of some words to a word that was mistyped. */
#ifndef BASE_SUGGEST_H
#define BASE_SUGGEST_H

#include <stddef.h>

/* the nearest of names[0..n), or NULL when none is near enough to be meant */
const char *suggest(const char *word, size_t len, const char *const *names, size_t n);

/*
 * Number of letters to insert, delete, replace or swap with their neighbour to make one word of the
 * other (optimal string alignment). Only the first 63 letters count.
 */
size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
