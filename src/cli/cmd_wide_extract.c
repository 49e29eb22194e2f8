/* tenon wide extract: one member as an ONNX file. */
#include <errno.h>
#include <stdlib.h>

#include "cli/output.h"
#include "cli/wide.h"
#include "wide/wide.h"

static tn_status read_member(cli *c, int n, long long *out, tn_error *err) {
    const char *text = c->options.member;
    char *end;
    if (!text) return cli_usage(c, err, "which member? --member I says so, from 0");
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (!*text || *end || errno)
        return cli_usage(c, err, "--member: '%s' is not a whole number", text);
    if (*out >= 0 && *out < n) return TN_OK;
    return cli_usage(c, err, "--member: there is no member %lld; they are 0 to %d", *out, n - 1);
}

/* The other members need not be opened. */
tn_status cmd_wide_extract(cli *c, tn_error *err) {
    cli_roster roster;
    int *n, count;
    long long i = 0;
    TN_CHECK(cli_roster_read(c, &roster, err));
    TN_CHECK(cli_roster_sizes(c, &roster, false, &n, &count, err));
    TN_CHECK(read_member(c, n[0], &i, err));
    if (!c->options.out_file || !*c->options.out_file)
        return cli_usage(c, err, "where to? -o FILE says so");
    tn_wide_member member = cli_roster_member(&roster, (int)i);
    TN_CHECK(tn__wide_extract_one(&member, (int)i, c->options.out_file, err));
    if (!c->options.json) return TN_OK;
    return cli_json(c,
                    json_pack("{s:s, s:i, s:s}", "schema", "tenon.wide.extract/1", "member", (int)i,
                              "file", c->options.out_file),
                    err);
}
