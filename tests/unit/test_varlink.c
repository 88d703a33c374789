/* SPDX-License-Identifier: Apache-2.0 */
/* What a Varlink call is, which parameters it may have, and the control socket's pace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control-pace.h"
#include "varlink.h"

static const char *parse(const char *text, struct varlink_call *ret_call) {
        *ret_call = (struct varlink_call){ 0 };
        return varlink_call_parse(text, strlen(text), ret_call);
}

static void calls_are_read(void **state) {
        struct varlink_call call;

        (void)state;
        assert_null(parse("{\"method\":\"a.b\"}", &call));
        assert_string_equal(call.method, "a.b");
        assert_null(call.parameters);
        assert_false(call.oneway);
        varlink_call_deinit(&call);

        assert_null(parse(" {\"parameters\":{\"x\":1},\"oneway\":true,\"more\":false,"
                          "\"upgrade\":null,\"io.vendor.extension\":{},\"method\":\"a.b\"}\n",
                          &call));
        assert_true(json_object_is_type(call.parameters, json_type_object));
        assert_true(call.oneway);
        assert_false(call.upgrade);
        varlink_call_deinit(&call);
}

static void what_is_no_call_is_told_apart(void **state) {
        static const struct {
                const char *text, *wrong;
        } cases[] = {
                { "", "JSON that breaks off" },
                { "{\"method\":\"a.b", "JSON that breaks off" },
                { "{\"method\":\"a.b\"}}", "malformed JSON" },
                { "{\"method\":\"a.b\"} {}", "malformed JSON" },
                { "{\"method\":\"a.b\",}", "malformed JSON" },
                { "{method:1}", "malformed JSON" },
                { "{\"method\":\"\xff\xfe\"}", "malformed JSON" },
                { "[1]", "not a JSON object" },
                { "\"a\"", "not a JSON object" },
                { "{}", "no method" },
                { "{\"method\":null}", "no method" },
                { "{\"method\":7}", "no method" },
                { "{\"method\":\"a.b\\u0000.c\"}", "no method" },
                { "{\"method\":\"a.b\",\"parameters\":[]}", "parameters are not an object" },
                { "{\"method\":\"a.b\",\"parameters\":1}", "parameters are not an object" },
                { "{\"method\":\"a.b\",\"oneway\":1}", "a flag is not a bool" },
                { "{\"method\":\"a.b\",\"more\":\"yes\"}", "a flag is not a bool" },
                { "{\"method\":\"a.b\",\"upgrade\":{}}", "a flag is not a bool" },
                { "[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]", "JSON nested too deeply" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct varlink_call call;
                const char *wrong = parse(cases[i].text, &call);
                assert_non_null(wrong);
                assert_string_equal(wrong, cases[i].wrong);
                assert_null(call.message);
        }
}

static void every_beginning_of_a_call_is_refused(void **state) {
        static const char text[] =
                "{\"method\":\"a.b\",\"parameters\":{\"x\":[1,2.5,\"\\u00e4\","
                "null,true]},\"oneway\":false}";

        (void)state;
        for (size_t size = 0; size < sizeof(text) - 1; size++) {
                struct varlink_call call = { 0 };
                assert_non_null(varlink_call_parse(text, size, &call));
        }
}

struct target {
        int64_t number;
        const char *word;
        bool flag;
};

enum { NUMBER = 1, WORD = 2, FLAG = 4, ANY = 8, EVERY = 15 };

static const struct varlink_parameter table[] = {
        { "number", offsetof(struct target, number), VARLINK_INT, -5, 1000, NUMBER },
        { "any", offsetof(struct target, number), VARLINK_INT, 0, INT64_MAX, ANY },
        { "word", offsetof(struct target, word), VARLINK_STRING, 0, 0, WORD },
        { "flag", offsetof(struct target, flag), VARLINK_BOOL, 0, 0, FLAG },
};

/* The offender of those parameters, or "". `allowed` and `required` as in the table. */
static void check(const char *json, unsigned allowed, unsigned required, const char *offender) {
        struct json_object *parameters = *json ? json_tokener_parse(json) : NULL;
        struct target target = { 0 };
        const char *wrong = varlink_parameters_read(parameters, table, 4, allowed, required,
                                                    &target);

        assert_string_equal(wrong ? wrong : "", offender);
        json_object_put(parameters);
}

static void parameters_are_stored(void **state) {
        struct json_object *parameters = json_tokener_parse(
                "{\"number\":-5,\"word\":\"w\",\"flag\":true}");
        struct target target = { .number = 7 };

        (void)state;
        assert_null(varlink_parameters_read(parameters, table, 4, EVERY, NUMBER | WORD | FLAG,
                                            &target));
        assert_int_equal(target.number, -5);
        assert_string_equal(target.word, "w");
        assert_true(target.flag);
        json_object_put(parameters);

        target = (struct target){ .number = 7 };
        assert_null(varlink_parameters_read(NULL, table, 4, EVERY, 0, &target));
        assert_int_equal(target.number, 7);
}

static void wrong_parameters_are_named(void **state) {
        (void)state;
        check("{}", EVERY, 0, "");
        check("{\"number\":null}", EVERY, 0, "");
        check("{\"number\":1000}", EVERY, 0, "");
        check("{\"number\":1001}", EVERY, 0, "number");
        check("{\"number\":-6}", EVERY, 0, "number");
        check("{\"number\":1.0}", EVERY, 0, "number");
        check("{\"number\":\"1\"}", EVERY, 0, "number");
        check("{\"number\":99999999999999999999}", EVERY, 0, "number");
        check("{\"any\":9223372036854775807}", EVERY, 0, "");
        check("{\"any\":9223372036854775808}", EVERY, 0, "any");
        check("{\"any\":99999999999999999999}", EVERY, 0, "any");
        check("{\"any\":-99999999999999999999}", EVERY, 0, "any");
        check("{\"word\":1}", EVERY, 0, "word");
        check("{\"word\":\"a\\u0000b\"}", EVERY, 0, "word");
        check("{\"flag\":0}", EVERY, 0, "flag");
        check("{\"other\":1}", EVERY, 0, "other");
        check("{\"flag\":true}", NUMBER, 0, "flag");
        check("", EVERY, WORD, "word");
        check("{}", EVERY, WORD | FLAG, "word");
        check("{\"word\":null}", EVERY, WORD, "word");
        check("{\"word\":\"\"}", EVERY, WORD, "");
}

static void the_pace_lets_bursts_through(void **state) {
        struct pace pace = { 0, PACE_BURST_NS };

        (void)state;
        for (int i = 0; i < 50; i++) {
                assert_true(pace_allows(&pace, 0));
                pace_spend(&pace, PACE_BURST_NS / 50);
        }
        assert_false(pace_allows(&pace, 0));
        assert_true(pace_wait_ns(&pace) > 0);
        assert_true(pace_allows(&pace, pace_wait_ns(&pace)));
}

static void the_pace_takes_its_share_and_no_more(void **state) {
        struct pace pace = { 0, PACE_BURST_NS };
        const uint64_t cost = 3000000, second = 1000000000;
        uint64_t now = 0, spent = 0;

        (void)state;
        while (now < 10 * second) {
                if (!pace_allows(&pace, now)) {
                        now += pace_wait_ns(&pace);
                        continue;
                }
                pace_spend(&pace, cost);
                spent += cost;
                now += cost;
        }
        assert_true(spent <= now / PACE_SHARE + PACE_BURST_NS + cost);
        assert_true(spent >= now / PACE_SHARE - cost);
}

static void credit_does_not_pile_up(void **state) {
        struct pace pace = { 0, 0 };

        (void)state;
        assert_true(pace_allows(&pace, UINT64_C(3600000000000)));
        assert_int_equal(pace.credit_ns, PACE_BURST_NS);
        /* A clock that stands still, or seems to go back, gives nothing. */
        pace_spend(&pace, PACE_BURST_NS);
        assert_false(pace_allows(&pace, 1));
        assert_int_equal(pace.credit_ns, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(calls_are_read),
                cmocka_unit_test(what_is_no_call_is_told_apart),
                cmocka_unit_test(every_beginning_of_a_call_is_refused),
                cmocka_unit_test(parameters_are_stored),
                cmocka_unit_test(wrong_parameters_are_named),
                cmocka_unit_test(the_pace_lets_bursts_through),
                cmocka_unit_test(the_pace_takes_its_share_and_no_more),
                cmocka_unit_test(credit_does_not_pile_up),
        };

        return cmocka_run_group_tests_name("varlink", tests, NULL, NULL);
}
