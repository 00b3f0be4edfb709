/*
 * A provider of security labels that takes every label but "refused". Without the server's headers, which are
 * seldom installed: what it needs of them stands here. VERSION is server_version_num / 100.
 */
#include <stddef.h>
#include <string.h>

typedef struct Abi {
    int version, funcmaxargs, indexmaxkeys, namedatalen;
#if VERSION < 1300
    int float4byval;
#endif
    int float8byval;
#if VERSION >= 1500
    char abi_extra[32];
#endif
} Abi;

#if VERSION < 1300
#define FIELDS                                                                                     \
    {                                                                                              \
        VERSION, 100, 32, 64, 1, 1                                                                 \
    }
#elif VERSION < 1500
#define FIELDS                                                                                     \
    {                                                                                              \
        VERSION, 100, 32, 64, 1                                                                    \
    }
#else
#define FIELDS                                                                                     \
    {                                                                                              \
        VERSION, 100, 32, 64, 1, "PostgreSQL"                                                      \
    }
#endif

typedef struct Magic {
    int len;
    Abi abi;
#if VERSION >= 1800
    const char *name, *version;
#endif
} Magic;

const Magic *Pg_magic_func(void);
void _PG_init(void);
extern void register_label_provider(const char *name,
                                    void (*hook)(const void *object, const char *label));
#if VERSION >= 1200
extern int errstart(int level, const char *domain);
#define ERRSTART() errstart(21, NULL)
extern void errfinish(const char *file, int line, const char *function);
#define ERRFINISH() errfinish(__FILE__, __LINE__, __func__)
#endif
extern int errmsg(const char *format, ...);

const Magic *Pg_magic_func(void)
{
    static const Magic magic = {sizeof(Magic), FIELDS};

    return &magic;
}

static void check(const void *object, const char *label)
{
    (void)object;
#if VERSION >= 1300
    if (label != NULL && strcmp(label, "refused") == 0 && ERRSTART()) {
        errmsg("the provider does not take this label");
        ERRFINISH();
    }
#else
    (void)label;
#endif
}

void _PG_init(void)
{
    register_label_provider("a \"provider\"", check);
}
