/* SPDX-License-Identifier: Apache-2.0 */
/* Lists in parts, each with a bounded reply and a bounded share of the loop's time. */
#include "control-internal.h"

/* Some two milliseconds; a data client that calls meanwhile waits for them. */
#define WORK_MAX 8192u

struct control_page control_page_of(const struct control_request *request) {
        return (struct control_page){
                .rows = (uint32_t)request->parameters.limit,
                .work = WORK_MAX,
                .last = (uint64_t)request->parameters.after,
        };
}

bool control_page_goes_on(struct control_page *page, struct control_request *request,
                          uint64_t number) {
        if (page->rows == 0 || page->work == 0) {
                build_int(&request->build, request->reply, "next", page->last);
                return false;
        }
        page->last = number;
        page->work--;
        return true;
}

void control_page_spend(struct control_page *page, uint32_t work) {
        page->work -= work < page->work ? work : page->work;
}
