/* Patterns of names: see selection.h. */
#include "model/selection.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

/* how selection_text() marks a pattern, and the option that it comes from */
static const struct {
    char sign; /* of include or exclude */
    bool whole;
    const char *word;
} kinds[] = {{'+', true, "schema"},
             {'+', false, "table"},
             {'-', true, "exclude-schema"},
             {'-', false, "exclude-table"}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* behind one character of UTF-8 */
static const char *next_character(const char *text)
{
    for (text++; ((unsigned char)*text & 0xC0) == 0x80;)
        text++;
    return text;
}

/* what comes behind a * begins as early as it can; if that does not work out, one character later */
bool glob_matches(const char *glob, const char *text)
{
    const char *star = NULL, *retry = NULL;

    while (*text != '\0') {
        if (*glob == '*') {
            star = ++glob;
            retry = text;
        } else if (*glob == '?') {
            glob++;
            text = next_character(text);
        } else if (*glob == *text) {
            glob++;
            text++;
        } else if (star != NULL) {
            glob = star;
            text = retry = next_character(retry);
        } else {
            return false;
        }
    }
    while (*glob == '*')
        glob++;
    return *glob == '\0';
}

/* one part of a name; NULL when it is none. *text moves behind it. */
static const char *read_part(const void *ctx, const char **text, bool *ret_glob)
{
    Str *part = str_new(ctx);
    const char *p = *text;

    *ret_glob = false;
    if (*p == '"') {
        for (p++; *p != '\0' && (*p != '"' || p[1] == '"'); p++) {
            if (*p == '"')
                p++;
            str_char(part, *p);
        }
        if (*p != '"')
            return NULL;
        p++;
    } else {
        for (; *p != '\0' && *p != '.' && *p != '"'; p++) {
            *ret_glob = *ret_glob || *p == '*' || *p == '?';
            str_char(part, *p);
        }
    }
    *text = p;
    return part->len == 0 ? NULL : part->text;
}

bool pattern_read(const void *ctx, const char *text, Pattern *ret_pattern)
{
    bool glob;
    const char *first = read_part(ctx, &text, &glob);

    *ret_pattern =
        (Pattern){.schema = "public", .name = first, .name_glob = glob, .line = ret_pattern->line};
    if (first == NULL)
        return false;
    if (*text == '.') {
        text++;
        ret_pattern->schema = first;
        ret_pattern->schema_glob = glob;
        ret_pattern->name = read_part(ctx, &text, &ret_pattern->name_glob);
    }
    return ret_pattern->name != NULL && *text == '\0';
}

bool pattern_read_schema(const void *ctx, const char *text, Pattern *ret_pattern)
{
    *ret_pattern =
        (Pattern){.name = "*", .name_glob = true, .whole = true, .line = ret_pattern->line};
    ret_pattern->schema = read_part(ctx, &text, &ret_pattern->schema_glob);
    return ret_pattern->schema != NULL && *text == '\0';
}

bool pattern_is_name(const Pattern *pattern)
{
    return !pattern->schema_glob && !pattern->name_glob;
}

static bool fits(bool glob, const char *pattern, const char *text)
{
    return glob ? glob_matches(pattern, text) : strcmp(pattern, text) == 0;
}

bool pattern_takes(const Pattern *pattern, const char *schema, const char *name)
{
    return fits(pattern->schema_glob, pattern->schema, schema) &&
           fits(pattern->name_glob, pattern->name, name);
}

bool pattern_takes_schema(const Pattern *pattern, const char *schema)
{
    return pattern->whole && fits(pattern->schema_glob, pattern->schema, schema);
}

static bool is_among(const Pattern *patterns, size_t n, const char *schema, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (pattern_takes(&patterns[i], schema, name))
            return true;
    return false;
}

bool selection_takes(const Selection *selection, const char *schema, const char *name)
{
    return (selection->all || is_among(selection->include, selection->n_include, schema, name)) &&
           !is_among(selection->exclude, selection->n_exclude, schema, name);
}

static bool is_whole(const Pattern *patterns, size_t n, const char *schema)
{
    for (size_t i = 0; i < n; i++)
        if (pattern_takes_schema(&patterns[i], schema))
            return true;
    return false;
}

bool selection_takes_schema(const Selection *selection, const char *schema)
{
    return (selection->all || is_whole(selection->include, selection->n_include, schema)) &&
           !is_whole(selection->exclude, selection->n_exclude, schema);
}

bool selection_enters(const Selection *selection, const char *schema)
{
    bool enters = selection->all;

    for (size_t i = 0; i < selection->n_include; i++)
        enters =
            enters || fits(selection->include[i].schema_glob, selection->include[i].schema, schema);
    return enters && !is_whole(selection->exclude, selection->n_exclude, schema);
}

static void add_part(Str *s, bool glob, const char *part)
{
    if (glob) {
        str_add(s, part);
        return;
    }
    str_char(s, '"');
    for (; *part != '\0'; part++) {
        if (*part == '"')
            str_char(s, '"');
        str_char(s, *part);
    }
    str_char(s, '"');
}

char *pattern_text(const void *ctx, const Pattern *pattern)
{
    Str *s = str_new(ctx);

    add_part(s, pattern->schema_glob, pattern->schema);
    if (!pattern->whole) {
        str_char(s, '.');
        add_part(s, pattern->name_glob, pattern->name);
    }
    return s->text;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* the patterns of one kind in order */
static const char **texts_of(const void *ctx, const Selection *selection, int kind, size_t *ret_n)
{
    bool in = kinds[kind].sign == '+';
    const Pattern *patterns = in ? selection->include : selection->exclude;
    size_t n_patterns = in ? selection->n_include : selection->n_exclude;
    const char **texts = mem_array(ctx, const char *, n_patterns + 1);

    *ret_n = 0;
    for (size_t i = 0; i < n_patterns; i++)
        if (patterns[i].whole == kinds[kind].whole)
            texts[(*ret_n)++] = pattern_text(ctx, &patterns[i]);
    if (*ret_n > 0)
        qsort(texts, *ret_n, sizeof *texts, compare_texts);
    return texts;
}

static char *all_texts(const void *ctx, const Selection *selection, const char *fmt_of_line,
                       const char *between)
{
    AUTO_CTX(tmp, NULL);
    Str *s = str_new(ctx);

    for (int kind = 0; selection != NULL && kind < N_KINDS; kind++) {
        size_t n;
        const char **texts = texts_of(tmp, selection, kind, &n);

        for (size_t i = 0; i < n; i++) {
            if (i > 0 && strcmp(texts[i], texts[i - 1]) == 0)
                continue;
            str_fmt(s, "%s%s%s %s", s->len > 0 ? between : "", fmt_of_line, kinds[kind].word,
                    texts[i]);
        }
    }
    return s->text;
}

/* names hold no line breaks that matter: nobody has them, and they would be refused as unreadable */
char *selection_text(const void *ctx, const Selection *selection)
{
    return all_texts(ctx, selection, "", "\n");
}

char *selection_options(const void *ctx, const Selection *selection)
{
    return all_texts(ctx, selection, "--", " ");
}

static bool read_line(const void *ctx, const char *line, Selection *selection)
{
    for (int kind = 0; kind < N_KINDS; kind++) {
        size_t len = strlen(kinds[kind].word);
        Pattern pattern = {0};

        if (strncmp(line, kinds[kind].word, len) != 0 || line[len] != ' ')
            continue;
        if (!(kinds[kind].whole ? pattern_read_schema(ctx, line + len + 1, &pattern)
                                : pattern_read(ctx, line + len + 1, &pattern)))
            return false;
        if (kinds[kind].sign == '+')
            mem_push(ctx, selection->include, selection->n_include, pattern);
        else
            mem_push(ctx, selection->exclude, selection->n_exclude, pattern);
        return true;
    }
    return false;
}

bool selection_read(const void *ctx, const char *text, Selection **ret)
{
    AUTO_CTX(tmp, NULL);

    *ret = NULL;
    if (*text == '\0')
        return true;
    Selection *selection = mem_new(ctx, Selection);
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        if (!read_line(selection, mem_strndup(tmp, text, len), selection))
            return false;
        text += len + (text[len] == '\n' ? 1 : 0);
    }
    selection->all = selection->n_include == 0;
    *ret = selection;
    return true;
}
