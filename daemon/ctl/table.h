/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aligned columns of text. Cells are added row by row, left to right. A table that ran out of
 * memory stays failed; table_print says so.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct column {
        const char *title;
        bool right;   /* numbers */
        bool shrinks; /* may be cut where the terminal is too narrow */
        int spare;    /* may be left out there, the largest first; 0: never */
};

struct table {
        const struct column *columns;
        size_t n_columns;
        char **cells; /* row by row */
        size_t n_cells, room;
        bool failed;
};

struct view {
        FILE *to;
        unsigned width; /* of the terminal; 0: whatever it takes */
        bool header;
};

/* `columns` is borrowed; at most TABLE_COLUMNS_MAX. */
#define TABLE_COLUMNS_MAX 24
struct table table_of(const struct column *columns, size_t n_columns);
#define TABLE_OF(columns) table_of((columns), sizeof(columns) / sizeof(*(columns)))
void table_deinit(struct table *table);

/* What could steer a terminal is shown as '?'; an empty cell is shown as "-". */
void table_add(struct table *table, const char *text);
void table_addf(struct table *table, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
void table_add_int(struct table *table, uint64_t value);
void table_add_bytes(struct table *table, uint64_t bytes);
void table_add_time(struct table *table, uint64_t ns);

/* Columns of the terminal the text takes. */
size_t table_text_width(const char *text);

/* 0, or -ENOMEM, or -errno of the file. */
int table_print(const struct table *table, const struct view *view);
