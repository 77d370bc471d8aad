/* The fake NVML library of the tests, and the calls that only the other tools make: what else a board says of itself.
 *
 * The environment variable FAKE_NVML_ARCHITECTURE is nvmlDeviceGetArchitecture's answer: 9, Hopper, unless it is set.
 * The calls are counted, and fail with the board, under the fake's name "all".
 */
#include "fake_nvml.c"

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned version, sensor; int celsius; } Temperature;

/* Answers with `*out = value`, or with the board's error. */
#define ANSWER(h, type, out, ...) \
    Device *d; \
    int code = enter_handle(h, ALL, &d); \
    if (!code) *(out) = (type)__VA_ARGS__; \
    return leave(code)

int nvmlDeviceGetMemoryInfo(Handle h, Memory *memory) { ANSWER(h, Memory, memory, {80ull << 30, 40ull << 30, 40ull << 30}); }

int nvmlDeviceGetUtilizationRates(Handle h, Utilization *rates) { ANSWER(h, Utilization, rates, {50, 50}); }

int nvmlDeviceGetTemperature(Handle h, unsigned sensor, unsigned *celsius) { (void)sensor; ANSWER(h, unsigned, celsius, 50); }

int nvmlDeviceGetTemperatureV(Handle h, Temperature *sensor) {
    ANSWER(h, Temperature, sensor, {sensor->version, sensor->sensor, 50});
}

int nvmlDeviceGetComputeMode(Handle h, unsigned *mode) { ANSWER(h, unsigned, mode, 0); }

int nvmlDeviceGetPersistenceMode(Handle h, unsigned *mode) { ANSWER(h, unsigned, mode, 1); }

int nvmlDeviceGetArchitecture(Handle h, unsigned *architecture) {
    const char *text = getenv("FAKE_NVML_ARCHITECTURE");
    unsigned named = text ? (unsigned)atoi(text) : 9;
    ANSWER(h, unsigned, architecture, named);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Handle h, unsigned *count, ProcessInfo *infos) {
    (void)infos;
    ANSWER(h, unsigned, count, 0);
}

int nvmlDeviceGetPowerManagementLimit(Handle h, unsigned *mw) { return nvmlDeviceGetEnforcedPowerLimit(h, mw); }
