// Tells the validation library inside Scalar not to try whether it may compile code: the policy forbids it.
globalThis.__zod_globalConfig = { jitless: true };
