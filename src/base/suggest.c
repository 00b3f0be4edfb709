/* Did you mean …: see suggest.h. */
#include "base/suggest.h"

#include <stdint.h>
#include <string.h>

enum { MAX_WORD = 63 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][MAX_WORD + 1]; /* three rows of the matrix, used in turn */
    size_t n = least(a_len, MAX_WORD), m = least(b_len, MAX_WORD);

    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *two_above = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t replace = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);

            row[j] = least(replace, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

const char *suggest(const char *word, size_t len, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;

    for (size_t i = 0; i < n; i++) {
        size_t name_len = strlen(names[i]);
        size_t distance = edit_distance(word, len, names[i], name_len);
        size_t limit = len < 4 ? 1 : least(1 + len / 3, 3);

        /* a beginning counts as near: people expect abbreviations to work */
        if (len > 1 && len < name_len && memcmp(word, names[i], len) == 0)
            distance = 1;
        if (distance <= limit && distance < best_distance) {
            best = names[i];
            best_distance = distance;
        }
    }
    return best;
}
