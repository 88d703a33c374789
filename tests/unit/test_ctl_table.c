/* SPDX-License-Identifier: Apache-2.0 */
/* How shmbrokerctl writes numbers and lays out tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/human.h"
#include "ctl/table.h"

static void bytes_have_one_decimal_and_a_unit(void **state) {
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
                { 0, "0" },
                { 1, "1" },
                { 1023, "1023" },
                { 1024, "1.0K" },
                { 1536, "1.5K" },
                { 4096, "4.0K" },
                { 1075, "1.0K" },
                { 1076, "1.1K" },
                { (1 << 20) - 1, "1.0M" }, /* not 1024.0K */
                { 1048524, "1023.9K" },
                { 20 << 20, "20.0M" },
                { 20000000, "19.1M" },
                { UINT64_C(1) << 30, "1.0G" },
                { UINT64_C(12638253056), "11.8G" },
                { UINT64_C(1) << 40, "1.0T" },
                { UINT64_C(1) << 50, "1.0P" },
                { UINT64_C(1) << 60, "1.0E" },
                { INT64_MAX, "8.0E" },
                { UINT64_MAX, "16.0E" },
        };
        char text[HUMAN_SIZE];

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                human_bytes(text, cases[i].bytes);
                assert_string_equal(text, cases[i].text);
        }
}

static void times_have_the_two_units_that_matter(void **state) {
        static const struct {
                uint64_t ns;
                const char *text;
        } cases[] = {
                { 0, "0" },
                { 999, "999ns" },
                { 1000, "1us" },
                { 850999, "850us" },
                { 1000000, "1ms" },
                { 999999999, "999ms" },
                { UINT64_C(1000000000), "1.0s" },
                { UINT64_C(3250000000), "3.2s" },
                { UINT64_C(59999999999), "59.9s" },
                { UINT64_C(60000000000), "1m00s" },
                { UINT64_C(250000000000), "4m10s" },
                { UINT64_C(3600000000000), "1h00m" },
                { UINT64_C(11100000000000), "3h05m" },
                { UINT64_C(86400000000000), "1d00h" },
                { UINT64_C(187200000000000), "2d04h" },
                { UINT64_MAX, "213503d23h" },
        };
        char text[HUMAN_SIZE];

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                human_time(text, cases[i].ns);
                assert_string_equal(text, cases[i].text);
        }
}

static void shares_are_percent(void **state) {
        char text[HUMAN_SIZE];

        (void)state;
        human_share(text, 1, 8);
        assert_string_equal(text, "12.5%");
        human_share(text, 0, 8);
        assert_string_equal(text, "0.0%");
        human_share(text, 8, 0);
        assert_string_equal(text, "-");
        human_share(text, UINT64_MAX, UINT64_MAX);
        assert_string_equal(text, "100.0%");
}

static const struct column columns[] = {
        { .title = "ID", .right = true },
        { .title = "NAME", .shrinks = true },
        { .title = "SIZE", .right = true },
        { .title = "HOLDERS", .shrinks = true },
};

/* Owned by the caller. */
static char *print(const struct table *table, unsigned width, bool header) {
        char *text = NULL;
        size_t size = 0;
        FILE *to = open_memstream(&text, &size);
        struct view view = { .to = to, .width = width, .header = header };

        assert_non_null(to);
        assert_int_equal(table_print(table, &view), 0);
        assert_int_equal(fclose(to), 0);
        return text;
}

static struct table two_rows(void) {
        struct table table = TABLE_OF(columns);

        table_add_int(&table, 1);
        table_add(&table, "camera");
        table_add_bytes(&table, 20 << 20);
        table_add(&table, "viewer");
        table_add_int(&table, 1234);
        table_add(&table, "a");
        table_add_bytes(&table, 512);
        table_add(&table, "");
        return table;
}

static void columns_are_aligned_and_lines_have_no_tail(void **state) {
        struct table table = two_rows();

        (void)state;
        char *text = print(&table, 0, true);
        assert_string_equal(text, "  ID  NAME     SIZE  HOLDERS\n"
                                  "   1  camera  20.0M  viewer\n"
                                  "1234  a         512  -\n");
        free(text);
        table_deinit(&table);
}

static void without_header_only_the_cells_count(void **state) {
        struct table table = TABLE_OF(columns);

        (void)state;
        table_add_int(&table, 1);
        table_add(&table, "a");
        table_add_int(&table, 2);
        table_add(&table, "b");
        char *text = print(&table, 0, false);
        assert_string_equal(text, "1  a  2  b\n");
        free(text);
        table_deinit(&table);
}

static void an_empty_table_is_its_header(void **state) {
        struct table table = TABLE_OF(columns);

        (void)state;
        char *text = print(&table, 0, true);
        assert_string_equal(text, "ID  NAME  SIZE  HOLDERS\n");
        free(text);
        text = print(&table, 0, false);
        assert_string_equal(text, "");
        free(text);
        table_deinit(&table);
}

static void a_narrow_terminal_cuts_the_widest_text(void **state) {
        struct table table = TABLE_OF(columns);

        (void)state;
        table_add_int(&table, 1);
        table_add(&table, "a-name-of-some-length");
        table_add_int(&table, 2);
        table_add(&table, "one holder, another holder, and a third");
        char *text = print(&table, 40, false);
        assert_string_equal(text, "1  a-name-of-som...  2  one holder, a...\n");
        assert_true(strlen(text) <= 41);
        free(text);
        /* Never to nothing: then the line is longer than the terminal. */
        text = print(&table, 5, false);
        assert_string_equal(text, "1  a-nam...  2  one h...\n");
        free(text);
        table_deinit(&table);
}

static void a_narrower_terminal_shows_fewer_columns(void **state) {
        static const struct column spare[] = {
                { .title = "A", .spare = 1 },
                { .title = "NAME", .shrinks = true },
                { .title = "B", .right = true, .spare = 3 },
                { .title = "C", .right = true, .spare = 2 },
        };
        struct table table = TABLE_OF(spare);

        (void)state;
        table_add(&table, "first");
        table_add(&table, "a name of nineteen");
        table_add(&table, "333");
        table_add(&table, "22");
        char *text = print(&table, 34, true);
        assert_string_equal(text, "A      NAME                  B   C\n"
                                  "first  a name of nineteen  333  22\n");
        free(text);
        text = print(&table, 32, false);
        assert_string_equal(text, "first  a name of nin...  333  22\n");
        free(text);
        text = print(&table, 31, false);
        assert_string_equal(text, "first  a name of nin...  22\n");
        free(text);
        text = print(&table, 26, false);
        assert_string_equal(text, "first  a name of nin...\n");
        free(text);
        text = print(&table, 20, true);
        assert_string_equal(text, "NAME\n"
                                  "a name of nin...\n");
        free(text);
        text = print(&table, 10, false);
        assert_string_equal(text, "a name ...\n");
        free(text);
        table_deinit(&table);
}

static void width_counts_characters_not_bytes(void **state) {
        struct table table = TABLE_OF(columns);

        (void)state;
        assert_int_equal(table_text_width("1a2b\u2026"), 5);
        table_add_int(&table, 1);
        table_add(&table, "1a2b\u2026");
        table_add_int(&table, 2);
        table_add(&table, "x");
        table_add_int(&table, 1);
        table_add(&table, "12345");
        table_add_int(&table, 2);
        table_add(&table, "y");
        char *text = print(&table, 0, false);
        assert_string_equal(text, "1  1a2b\u2026  2  x\n"
                                  "1  12345  2  y\n");
        free(text);
        table_deinit(&table);
}

static void nothing_can_steer_the_terminal(void **state) {
        struct table table = TABLE_OF(columns);

        (void)state;
        table_add_int(&table, 1);
        table_add(&table, "\033[2Jx\ny\tz\177");
        table_add_int(&table, 2);
        table_add(&table, "\xc2\x9b"
                          "31m");
        char *text = print(&table, 0, false);
        assert_string_equal(text, "1  ?[2Jx?y?z?  2  ??31m\n");
        free(text);
        table_deinit(&table);
}

static void many_rows_and_long_cells(void **state) {
        struct table table = TABLE_OF(columns);
        char *line, *rest = NULL;
        unsigned lines = 0;

        (void)state;
        for (unsigned i = 0; i < 1000; i++) {
                table_add_int(&table, i);
                table_addf(&table, "%0*u", 300, i);
                table_add_time(&table, i);
                table_add(&table, "end");
        }
        char *text = print(&table, 0, true);
        for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                if (lines++ > 0)
                        assert_int_equal(strlen(line), 3 + 2 + 300 + 2 + 5 + 2 + 3);
        assert_int_equal(lines, 1001);
        free(text);
        table_deinit(&table);
}

static void a_full_disk_is_an_error(void **state) {
        struct table table = two_rows();
        FILE *to = fopen("/dev/full", "w");
        struct view view = { .to = to, .header = true };

        (void)state;
        assert_non_null(to);
        setvbuf(to, NULL, _IONBF, 0);
        assert_true(table_print(&table, &view) < 0);
        fclose(to);
        table_deinit(&table);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(bytes_have_one_decimal_and_a_unit),
                cmocka_unit_test(times_have_the_two_units_that_matter),
                cmocka_unit_test(shares_are_percent),
                cmocka_unit_test(columns_are_aligned_and_lines_have_no_tail),
                cmocka_unit_test(without_header_only_the_cells_count),
                cmocka_unit_test(an_empty_table_is_its_header),
                cmocka_unit_test(a_narrow_terminal_cuts_the_widest_text),
                cmocka_unit_test(a_narrower_terminal_shows_fewer_columns),
                cmocka_unit_test(width_counts_characters_not_bytes),
                cmocka_unit_test(nothing_can_steer_the_terminal),
                cmocka_unit_test(many_rows_and_long_cells),
                cmocka_unit_test(a_full_disk_is_an_error),
        };

        return cmocka_run_group_tests_name("ctl table", tests, NULL, NULL);
}
