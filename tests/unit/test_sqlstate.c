/* pg/sqlstate */
#include "unit.h"

#include <string.h>

#include "pg/sqlstate.h"

static Remedy remedy(void *ctx, ErrKind kind, const char *sqlstate)
{
    Err *err = err_new(ctx);

    err_set(err, kind, "x");
    memcpy(err->sqlstate, sqlstate, strlen(sqlstate));
    return err_remedy(err);
}

static void test_by_sqlstate(void **state)
{
    static const struct {
        const char *sqlstate;
        Remedy remedy;
    } cases[] = {
        {"40001", REMEDY_RETRY},     {"40P01", REMEDY_RETRY},     {"55P03", REMEDY_RETRY},
        {"57014", REMEDY_RETRY},     {"53100", REMEDY_RETRY},     {"53300", REMEDY_RECONNECT},
        {"57P01", REMEDY_RECONNECT}, {"57P03", REMEDY_RECONNECT}, {"08006", REMEDY_RECONNECT},
        {"23505", REMEDY_CONFLICT},  {"23P01", REMEDY_CONFLICT},  {"23503", REMEDY_GIVE_UP},
        {"25006", REMEDY_GIVE_UP},   {"42P01", REMEDY_GIVE_UP},   {"57000", REMEDY_GIVE_UP},
        {"", REMEDY_GIVE_UP},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(remedy(*state, ERR_SQL, cases[i].sqlstate), cases[i].remedy);
}

static void test_by_kind(void **state)
{
    assert_int_equal(remedy(*state, ERR_CONNECT, ""), REMEDY_RECONNECT);
    assert_int_equal(remedy(*state, ERR_TIMEOUT, ""), REMEDY_GIVE_UP);
    assert_int_equal(remedy(*state, ERR_CANCELED, ""), REMEDY_GIVE_UP);
    assert_int_equal(remedy(*state, ERR_BUG, "40001"), REMEDY_GIVE_UP);
}

static void test_err_is(void **state)
{
    Err *err = err_new(*state);

    err_set(err, ERR_SQL, "x");
    assert_false(err_is(err, SQLSTATE_FENCE));
    memcpy(err->sqlstate, SQLSTATE_FENCE, sizeof err->sqlstate);
    assert_true(err_is(err, SQLSTATE_FENCE));
    assert_false(err_is(err, SQLSTATE_QUERY_CANCELED));
    err->kind = ERR_BUG;
    assert_false(err_is(err, SQLSTATE_FENCE));
}

UNIT_MAIN(UNIT_TEST(test_by_sqlstate), UNIT_TEST(test_by_kind), UNIT_TEST(test_err_is))
