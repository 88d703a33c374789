/* SPDX-License-Identifier: Apache-2.0 */
#include "config-host.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "config-value.h"

static void close_file(FILE **file) {
        if (*file)
                fclose(*file);
}

uint64_t config_host_ram(void) {
        long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

        return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

/* The number in one memory.max; "max", and a file that is not there, are no limit. */
static uint64_t read_limit(const char *root, const char *group) {
        SHMB_CLEANUP(close_file) FILE *file = NULL;
        char path[PATH_MAX], line[64];
        uint64_t limit;

        if (snprintf(path, sizeof path, "%s%s/memory.max", root, group) >= (int)sizeof path)
                return UINT64_MAX;
        file = fopen(path, "re");
        if (!file || !fgets(line, sizeof line, file))
                return UINT64_MAX;
        line[strcspn(line, "\n")] = '\0';
        return config_parse_number(line, &limit) < 0 ? UINT64_MAX : limit;
}

uint64_t config_host_cgroup_limit(const char *membership, const char *root) {
        SHMB_CLEANUP(close_file) FILE *file = fopen(membership, "re");
        char line[PATH_MAX];
        char *group = NULL;

        while (file && !group && fgets(line, sizeof line, file))
                if (strncmp(line, "0::/", 4) == 0)
                        group = line + 3;
        if (!group)
                return UINT64_MAX;
        group[strcspn(group, "\n")] = '\0';

        /* A parent's limit binds too. */
        uint64_t lowest = read_limit(root, "");
        while (group[0] != '\0' && group[1] != '\0') {
                uint64_t limit = read_limit(root, group);

                lowest = limit < lowest ? limit : lowest;
                *strrchr(group, '/') = '\0';
        }
        return lowest;
}

const char *config_host_runtime_directory(uid_t uid, const char *variable) {
        const size_t longest = sizeof((struct sockaddr_un *)NULL)->sun_path / 2;

        if (uid == 0 || !variable || variable[0] != '/' || strlen(variable) > longest)
                return "/run";
        return variable;
}
