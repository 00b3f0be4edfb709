/*
 * Types with a binary form that says the same on both nodes: see binary.h.
 *
 * A type is in the list when its binary form is the same in all versions from 9.3 on, does not
 * depend on settings of the server or of the session, and holds no oid of something that a user
 * created. So these are not: types that are not built in, arrays and composites of them (they carry
 * oids), enums (a label needs no conversion in either format), names of objects such as regclass
 * (their oid is another one on the other node), tsvector, tsquery and xml (their text is what they
 * were made of), and money. Arrays, also nested, carry the oid of the element's type, which is fixed
 * for built-in types. A domain is what it is made of.
 */
#include "model/binary.h"

#include <string.h>

#include "base/str.h"

typedef enum Gain { GAIN_NONE, GAIN_MUCH } Gain;

/* names as format_type() writes them under an empty search_path */
static const struct {
    const char *name;
    Gain gain; /* what binary saves; measured, see doc/design/004-copy.md */
} types[] = {
    {"boolean", GAIN_NONE},
    {"\"char\"", GAIN_NONE},
    {"name", GAIN_NONE},
    {"text", GAIN_NONE},
    {"character varying", GAIN_NONE},
    {"character", GAIN_NONE},
    {"bpchar", GAIN_NONE},
    {"bytea", GAIN_MUCH},
    {"smallint", GAIN_NONE},
    {"integer", GAIN_MUCH},
    {"bigint", GAIN_MUCH},
    {"oid", GAIN_NONE},
    {"real", GAIN_MUCH},
    {"double precision", GAIN_MUCH},
    {"numeric", GAIN_MUCH},
    {"date", GAIN_MUCH},
    {"time without time zone", GAIN_MUCH},
    {"time with time zone", GAIN_MUCH},
    {"timestamp without time zone", GAIN_MUCH},
    {"timestamp with time zone", GAIN_MUCH},
    {"interval", GAIN_MUCH},
    {"uuid", GAIN_MUCH},
    {"json", GAIN_NONE},
    {"jsonb", GAIN_NONE},
    {"inet", GAIN_NONE},
    {"cidr", GAIN_NONE},
    {"macaddr", GAIN_NONE},
    {"macaddr8", GAIN_NONE},
    {"bit", GAIN_NONE},
    {"\"bit\"", GAIN_NONE},
    {"bit varying", GAIN_NONE},
    {"point", GAIN_MUCH},
    {"lseg", GAIN_MUCH},
    {"box", GAIN_MUCH},
    {"path", GAIN_MUCH},
    {"polygon", GAIN_MUCH},
    {"circle", GAIN_MUCH},
    {"int4range", GAIN_NONE},
    {"int8range", GAIN_NONE},
    {"numrange", GAIN_NONE},
    {"daterange", GAIN_MUCH},
    {"tsrange", GAIN_MUCH},
    {"tstzrange", GAIN_MUCH},
};

static bool find(const char *type, Gain *ret_gain)
{
    size_t len = strlen(type);

    /* however many dimensions an array has, its type is written with one pair of brackets */
    if (str_ends(type, "[]"))
        len -= 2;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strncmp(types[i].name, type, len) == 0 && types[i].name[len] == '\0') {
            *ret_gain = types[i].gain;
            return true;
        }
    return false;
}

bool pair_is_binary(const TablePair *pair)
{
    bool worth_it = false;

    for (size_t i = 0; i < pair->n_columns; i++) {
        const Column *src = pair->columns[i], *dst = table_column(pair->dst, src->name);
        Gain gain;

        if (dst == NULL || strcmp(src->base_type, dst->base_type) != 0 ||
            !find(src->base_type, &gain))
            return false;
        worth_it = worth_it || gain != GAIN_NONE;
    }
    return worth_it;
}
