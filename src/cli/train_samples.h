/* What a trained model says about a few samples, for the report. */
#ifndef TENON_CLI_TRAIN_SAMPLES_H
#define TENON_CLI_TRAIN_SAMPLES_H

#include <jansson.h>

#include "cli/train_data.h"

/* Spread over what is held out, else over the training data, whose position is lost. Images:
 * {"kind": "images", "width", "height", "channels", "items": [{"pixels": bytes in base 64, "label", "prediction",
 * "probability"}]}. Tokens: {"kind": "tokens" or "text", "items": [{"input", "target", "prediction": lists,
 * "probability": of the prediction}]}. */
tn_status cli_train_samples(const train_settings *s, tn_module *m, const train_data *d,
                            json_t **out, tn_error *err);

#endif
