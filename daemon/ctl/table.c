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
#define NARROW 16   /* texts are cut to this before columns are left out, */
#define NARROWEST 8 /* and to this after */

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

/* How the columns are laid out. */
struct layout {
        size_t widths[TABLE_COLUMNS_MAX];
        bool hidden[TABLE_COLUMNS_MAX];
        size_t last; /* of those shown */
};

static void measure(const struct table *table, bool header, struct layout *layout) {
        for (size_t i = 0; i < table->n_columns; i++)
                layout->widths[i] = header ? table_text_width(table->columns[i].title) : 0;
        for (size_t i = 0, column = 0; i < table->n_cells; i++) {
                size_t width = table_text_width(table->cells[i]);
                if (width > layout->widths[column])
                        layout->widths[column] = width;
                column = column + 1 < table->n_columns ? column + 1 : 0;
        }
        layout->last = table->n_columns - 1;
}

static size_t total_width(const struct table *table, const struct layout *layout) {
        size_t total = 0;

        for (size_t i = 0; i < table->n_columns; i++)
                if (!layout->hidden[i])
                        total += layout->widths[i] + GAP;
        return total - GAP;
}

/* Makes the widest column that may be cut narrower by one; false if all are at `least`. */
static bool cut_one(const struct table *table, struct layout *layout, size_t least) {
        size_t widest = table->n_columns;

        for (size_t i = 0; i < table->n_columns; i++)
                if (table->columns[i].shrinks && layout->widths[i] > least &&
                    (widest == table->n_columns || layout->widths[i] > layout->widths[widest]))
                        widest = i;
        if (widest == table->n_columns)
                return false;
        layout->widths[widest]--;
        return true;
}

/* Leaves out the column that is missed least; false if there is none. */
static bool hide_one(const struct table *table, struct layout *layout) {
        size_t least = table->n_columns;

        for (size_t i = 0; i < table->n_columns; i++)
                if (table->columns[i].spare > 0 && !layout->hidden[i] &&
                    (least == table->n_columns ||
                     table->columns[i].spare > table->columns[least].spare))
                        least = i;
        if (least == table->n_columns)
                return false;
        layout->hidden[least] = true;
        while (layout->hidden[layout->last])
                layout->last--;
        return true;
}

static void fit(const struct table *table, unsigned width, struct layout *layout) {
        while (total_width(table, layout) > width)
                if (!cut_one(table, layout, NARROW) && !hide_one(table, layout) &&
                    !cut_one(table, layout, NARROWEST))
                        return;
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

static void print_in(const struct view *view, const struct table *table,
                     const struct layout *layout, size_t column, const char *text) {
        if (!layout->hidden[column])
                print_cell(view, &table->columns[column], text, layout->widths[column],
                           column == layout->last);
}

int table_print(const struct table *table, const struct view *view) {
        struct layout layout = { 0 };

        if (table->failed)
                return -ENOMEM;
        measure(table, view->header, &layout);
        if (view->width > 0)
                fit(table, view->width, &layout);
        for (size_t i = 0; view->header && i < table->n_columns; i++)
                print_in(view, table, &layout, i, table->columns[i].title);
        for (size_t i = 0, column = 0; i < table->n_cells; i++) {
                print_in(view, table, &layout, column, table->cells[i]);
                column = column + 1 < table->n_columns ? column + 1 : 0;
        }
        return ferror(view->to) ? -EIO : 0;
}
