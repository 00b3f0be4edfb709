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

/* the same of other names on the target */
static const struct {
    bool of_schema;
    const char *word;
} renames[] = {{true, "rename-schema"}, {false, "rename-table"}};
enum { N_RENAMES = sizeof renames / sizeof *renames };

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

/* ---- names */

static const Rename *rename_of(const Selection *selection, const char *schema, const char *name)
{
    for (size_t i = 0; i < selection->n_renames; i++) {
        const Rename *r = &selection->renames[i];

        if (strcmp(r->schema, schema) == 0 && (r->name == NULL) == (name == NULL) &&
            (name == NULL || strcmp(r->name, name) == 0))
            return r;
    }
    return NULL;
}

/* the schema is that of the source, or NULL for a rename of a schema */
static const Rename *rename_to(const Selection *selection, const char *schema, const char *to)
{
    for (size_t i = 0; i < selection->n_renames; i++) {
        const Rename *r = &selection->renames[i];

        if ((r->name == NULL) == (schema == NULL) && strcmp(r->to, to) == 0 &&
            (schema == NULL || strcmp(r->schema, schema) == 0))
            return r;
    }
    return NULL;
}

bool selection_renames(const Selection *selection)
{
    return selection != NULL && selection->n_renames > 0;
}

void selection_to_target(const Selection *selection, const char **schema, const char **name)
{
    if (!selection_renames(selection))
        return;
    const Rename *of_schema = rename_of(selection, *schema, NULL),
                 *of_name = *name == NULL ? NULL : rename_of(selection, *schema, *name);

    *schema = of_schema == NULL ? *schema : of_schema->to;
    *name = of_name == NULL ? *name : of_name->to;
}

bool selection_to_source(const Selection *selection, const char **schema, const char **name)
{
    const char *old_schema = *schema, *old_name = *name;
    const Rename *r;

    if (!selection_renames(selection))
        return true;
    if ((r = rename_to(selection, NULL, *schema)) != NULL)
        old_schema = r->schema;
    else if (rename_of(selection, *schema, NULL) != NULL)
        return false; /* what is called so here is called otherwise there */
    if (*name != NULL) {
        if ((r = rename_to(selection, old_schema, *name)) != NULL)
            old_name = r->name;
        else if (rename_of(selection, old_schema, *name) != NULL)
            return false;
    }
    *schema = old_schema;
    *name = old_name;
    return true;
}

const Selection *selection_on_target(const void *ctx, const Selection *selection)
{
    if (!selection_renames(selection))
        return selection;
    Selection *there = mem_new(ctx, Selection);

    *there = *selection;
    there->on_target = true;
    return there;
}

/* behind OLD of OLD=NEW; NULL when there is no such sign outside of quotes */
static const char *find_sign(const char *text)
{
    bool quoted = false;

    for (; *text != '\0' && (quoted || *text != '='); text++)
        quoted = quoted != (*text == '"');
    return *text == '=' ? text : NULL;
}

static bool is_reserved(const char *schema)
{
    return strncmp(schema, "pg_", 3) == 0 || strcmp(schema, "information_schema") == 0 ||
           strcmp(schema, "pgtandem") == 0;
}

const char *selection_add_rename(Selection *selection, const char *text, bool of_schema)
{
    const char *sign = find_sign(text), *to = sign == NULL ? NULL : sign + 1;
    Pattern old = {0};
    Rename rename = {0};
    bool glob;

    if (sign == NULL || strpbrk(text, "\r\n") != NULL)
        return "is not of the form OLD=NEW";
    const char *name = mem_strndup(selection, text, (size_t)(sign - text));
    if (!(of_schema ? pattern_read_schema(selection, name, &old)
                    : pattern_read(selection, name, &old)) ||
        old.schema_glob || (!of_schema && old.name_glob))
        return of_schema ? "does not name a schema" : "does not name a table";
    rename.schema = old.schema;
    rename.name = of_schema ? NULL : old.name;
    rename.to = read_part(selection, &to, &glob);
    if (rename.to == NULL || glob || *to != '\0')
        return of_schema ? "does not say how the schema is called on the target"
                         : "does not say how the table is called on the target (a name without "
                           "schema: a table goes elsewhere with its schema only)";
    if (of_schema && (is_reserved(rename.schema) || is_reserved(rename.to)))
        return "names a schema that is not the user's";
    if (strcmp(rename.to, of_schema ? rename.schema : rename.name) == 0)
        return "names the same twice";
    if (rename_of(selection, rename.schema, rename.name) != NULL)
        return "gives a second name to something that was given one already";
    if (rename_to(selection, of_schema ? NULL : rename.schema, rename.to) != NULL)
        return "gives a name that another one has got already";
    mem_push(selection, selection->renames, selection->n_renames, rename);
    return NULL;
}

/* ---- what is taken */

bool selection_takes(const Selection *selection, const char *schema, const char *name)
{
    if (selection->on_target && !selection_to_source(selection, &schema, &name))
        return false;
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
    const char *name = NULL;

    if (selection->on_target && !selection_to_source(selection, &schema, &name))
        return false;
    return (selection->all || is_whole(selection->include, selection->n_include, schema)) &&
           !is_whole(selection->exclude, selection->n_exclude, schema);
}

bool selection_enters(const Selection *selection, const char *schema)
{
    bool enters = selection->all;
    const char *none = NULL;

    if (selection->on_target && !selection_to_source(selection, &schema, &none))
        return false;
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

char *rename_text(const void *ctx, const Rename *rename)
{
    Str *s = str_new(ctx);

    add_part(s, false, rename->schema);
    if (rename->name != NULL) {
        str_char(s, '.');
        add_part(s, false, rename->name);
    }
    str_char(s, '=');
    add_part(s, false, rename->to);
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

/* the renames of schemas, or those of tables, in order */
static const char **renames_of(const void *ctx, const Selection *selection, bool of_schema,
                               size_t *ret_n)
{
    const char **texts = mem_array(ctx, const char *, selection->n_renames + 1);

    *ret_n = 0;
    for (size_t i = 0; i < selection->n_renames; i++)
        if ((selection->renames[i].name == NULL) == of_schema)
            texts[(*ret_n)++] = rename_text(ctx, &selection->renames[i]);
    if (*ret_n > 0)
        qsort(texts, *ret_n, sizeof *texts, compare_texts);
    return texts;
}

/* lines of one kind, each but once */
static void add_texts(Str *s, const char *prefix, const char *word, const char *between,
                      const char **texts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(texts[i], texts[i - 1]) != 0)
            str_fmt(s, "%s%s%s %s", s->len > 0 ? between : "", prefix, word, texts[i]);
}

static char *all_texts(const void *ctx, const Selection *selection, const char *prefix,
                       const char *between)
{
    AUTO_CTX(tmp, NULL);
    Str *s = str_new(ctx);
    size_t n;

    if (selection == NULL)
        return s->text;
    for (int kind = 0; kind < N_KINDS; kind++) {
        const char **texts = texts_of(tmp, selection, kind, &n);

        add_texts(s, prefix, kinds[kind].word, between, texts, n);
    }
    for (int kind = 0; kind < N_RENAMES; kind++) {
        const char **texts = renames_of(tmp, selection, renames[kind].of_schema, &n);

        add_texts(s, prefix, renames[kind].word, between, texts, n);
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
    for (int kind = 0; kind < N_RENAMES; kind++) {
        size_t len = strlen(renames[kind].word);

        if (strncmp(line, renames[kind].word, len) == 0 && line[len] == ' ')
            return selection_add_rename(selection, line + len + 1, renames[kind].of_schema) == NULL;
    }
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
