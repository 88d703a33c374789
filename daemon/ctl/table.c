/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "human.h"

#define GAP 2     /* spaces between columns */
#define CUT "..." /* stands for what was cut */
#define CUT_WIDTH 3
#define NARROWEST 8 /* no column is cut to less */

struct table table_of(const struct column *columns, size_t n_columns) {
        return (struct table){ .columns = columns, .n_columns = n_columns };
}

void table_deinit(struct table *table) {
        for (size_t i = 0; i < table->n_cells; i++)
                free(table->cells[i]);
        free(table->cells);
        *table = (struct table){ 0 };
}

/* Control characters of ASCII, and those of C1 in UTF-8 (0xc2 0x80 to 0xc2 0x9f). */
static void disarm(char *text) {
        unsigned char *at = (unsigned char *)text;

        for (; *at; at++) {
                if (at[0] < 0x20 || at[0] == 0x7f)
                        at[0] = '?';
                else if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f)
                        at[0] = at[1] = '?';
        }
}

/* Takes the text over. */
static void add(struct table *table, char *text) {
        if (text && table->n_cells == table->room) {
                size_t room = table->room ? 2 * table->room : 64;
                char **cells = reallocarray(table->cells, room, sizeof(*cells));
                if (cells) {
                        table->cells = cells;
                        table->room = room;
                }
        }
        if (!text || table->n_cells == table->room) {
                free(text);
                table->failed = true;
                return;
        }
        disarm(text);
        table->cells[table->n_cells++] = text;
}

void table_add(struct table *table, const char *text) {
        add(table, strdup(*text ? text : "-"));
}

void table_addf(struct table *table, const char *format, ...) {
        va_list arguments;
        char *text = NULL;

        va_start(arguments, format);
        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        va_end(arguments);
        add(table, text);
}

void table_add_int(struct table *table, uint64_t value) {
        table_addf(table, "%" PRIu64, value);
}

void table_add_bytes(struct table *table, uint64_t bytes) {
        char text[HUMAN_SIZE];

        human_bytes(text, bytes);
        table_add(table, text);
}

void table_add_time(struct table *table, uint64_t ns) {
        char text[HUMAN_SIZE];

        human_time(text, ns);
        table_add(table, text);
}

size_t table_text_width(const char *text) {
        size_t width = 0;

        for (; *text; text++)
                if (((unsigned char)*text & 0xc0) != 0x80)
                        width++;
        return width;
}

/* How many bytes of the text the first `width` columns take. */
static size_t bytes_of_width(const char *text, size_t width) {
        const char *at = text;

        for (; *at; at++)
                if (((unsigned char)*at & 0xc0) != 0x80 && width-- == 0)
                        break;
        return (size_t)(at - text);
}

static void measure(const struct table *table, bool header, size_t *widths) {
        for (size_t i = 0; i < table->n_columns; i++)
                widths[i] = header ? table_text_width(table->columns[i].title) : 0;
        for (size_t i = 0, column = 0; i < table->n_cells; i++) {
                size_t width = table_text_width(table->cells[i]);
                if (width > widths[column])
                        widths[column] = width;
                column = column + 1 < table->n_columns ? column + 1 : 0;
        }
}

/* Cuts the widest column that may be cut, again and again, until the row fits. */
static void fit(const struct table *table, unsigned width, size_t *widths) {
        size_t total = (table->n_columns - 1) * GAP;

        for (size_t i = 0; i < table->n_columns; i++)
                total += widths[i];
        while (total > width) {
                size_t widest = table->n_columns;
                for (size_t i = 0; i < table->n_columns; i++)
                        if (table->columns[i].shrinks && widths[i] > NARROWEST &&
                            (widest == table->n_columns || widths[i] > widths[widest]))
                                widest = i;
                if (widest == table->n_columns)
                        return;
                widths[widest]--;
                total--;
        }
}

static void print_cell(const struct view *view, const struct column *column, const char *text,
                       size_t width, bool last) {
        size_t own = table_text_width(text);
        bool cut = own > width;
        size_t bytes = bytes_of_width(text, cut ? width - CUT_WIDTH : own);
        int pad = cut ? 0 : (int)(width - own);

        if (column->right)
                fprintf(view->to, "%*s", pad, "");
        fprintf(view->to, "%.*s%s", (int)bytes, text, cut ? CUT : "");
        if (last)
                fputc('\n', view->to);
        else
                fprintf(view->to, "%*s", column->right ? GAP : pad + GAP, "");
}

int table_print(const struct table *table, const struct view *view) {
        size_t widths[TABLE_COLUMNS_MAX] = { 0 };

        if (table->failed)
                return -ENOMEM;
        measure(table, view->header, widths);
        if (view->width > 0)
                fit(table, view->width, widths);
        for (size_t i = 0; view->header && i < table->n_columns; i++)
                print_cell(view, &table->columns[i], table->columns[i].title, widths[i],
                           i + 1 == table->n_columns);
        for (size_t i = 0, column = 0; i < table->n_cells; i++) {
                bool last = column + 1 == table->n_columns;
                print_cell(view, &table->columns[column], table->cells[i], widths[column],
                           last);
                column = last ? 0 : column + 1;
        }
        return ferror(view->to) ? -EIO : 0;
}
