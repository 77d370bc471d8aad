/* A fake libnvidia-ml.so.1 for the real pynvml: devices whose power, and so whose energy, is known exactly.
 *
 * Time is CLOCK_MONOTONIC (Python's time.monotonic). Without changes a counter is a pure function of that clock,
 * so that two processes with the same FAKE_NVML see the same values.
 *
 * Configuration (environment variable FAKE_NVML, or fake_reset): `key=value` items separated by `;`, later ones win.
 *   devices=2                     1 to 16
 *   profile=constant:300          watts, until fake_set_power or fake_set_square changes it
 *   profile=square:100,500,1.0    low W, high W, period s [, duty 0..1 = 0.5 [, start of a high part in s = 0]]
 *   refresh_s=0.02                the counter holds its value at the last multiple of this; 0 = continuous (default)
 *   offset_j=1000                 joules in the counter at monotonic 0
 *   limit_w=700  name=...  uuid=GPU-...  mig=2 (slices)  pids=12,34
 *   power_usage=average           nvmlDeviceGetPowerUsage is a 1 s trailing average (default: instant)
 *   power_scale=1.1               factor between power readings and the truth
 *   error.CALL=CODE[@S]           an NVML error code, from S seconds after this text is read (default: at once)
 *   latency.CALL=S                seconds that a call sleeps; it then answers as of that moment
 *   hang.CALL=1[@S]               the call blocks until released (for both, fields are one call: field_values)
 * Prefix a key with `d3.` for one device; without it, it holds for all. CALL is a name in CALLS below.
 */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_DEVICES = 16, EVERYWHERE = MAX_DEVICES, MAX_PIDS = 8, NAME_SIZE = 96 };
enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
       LIBRARY_NOT_FOUND = 12, UNKNOWN = 999 };

enum { INIT, SHUTDOWN, DRIVER_VERSION, COUNT, FIRST_DEVICE_CALL, HANDLE_BY_INDEX = FIRST_DEVICE_CALL, HANDLE_BY_UUID,
       UUID, NAME, INDEX, PCI_INFO, MIG_MODE, MAX_MIG_COUNT, MIG_HANDLE, PARENT_HANDLE, TOTAL_ENERGY, FIELD_VALUES,
       FIELD_83, FIELD_185, FIELD_186, POWER_USAGE, POWER_LIMIT, DEFAULT_POWER_LIMIT, PROCESSES, ALL, CALL_COUNT };
static const char *const CALLS[CALL_COUNT] = {
    "init", "shutdown", "driver_version", "count", "handle_by_index", "handle_by_uuid", "uuid", "name", "index",
    "pci_info", "mig_mode", "max_mig_count", "mig_handle", "parent_handle", "total_energy", "field_values", "field_83",
    "field_185", "field_186", "power_usage", "power_limit", "default_power_limit", "processes", "all"};

typedef uintptr_t Handle; /* magic | generation | device | MIG slice + 1 (0 = the board) */
typedef struct { double start, before_j, low_w, high_w, period_s, duty, phase_s; } Segment;
typedef struct { int error; double error_from, latency_s; int hang; double hang_from; long calls; } Fault;
typedef struct {
    Segment *segments;
    int segment_count, segment_room;
    double refresh_s, offset_j, reset_at, limit_w, power_scale;
    int mig_count, average_usage, pid_count;
    unsigned generation, pids[MAX_PIDS];
    char uuid[NAME_SIZE], name[NAME_SIZE];
} Device;

/* The public structures of nvml.h that pynvml passes. */
typedef union { double d; unsigned ui; unsigned long ul; unsigned long long ull; } Value;
typedef struct { unsigned field, scope; long long timestamp_us, latency_us; int type, code; Value value; } FieldValue;
typedef struct { char legacy_bus_id[16]; unsigned domain, bus, device, device_id, subsystem_id; char bus_id[32]; } PciInfo;
typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } ProcessInfo;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static Device devices[MAX_DEVICES];
static Fault faults[MAX_DEVICES + 1][CALL_COUNT];
static int device_count, users, configured, used; /* used: nvmlInit has succeeded since the last reset */
static unsigned generations;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void pause_s(double seconds) {
    struct timespec t = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};
    nanosleep(&t, NULL);
}

/* ---- Truth: power and its integral ---- */

static double primitive(const Segment *s, double t) {
    double periods = (t - s->phase_s) / s->period_s, whole = floor(periods), part = periods - whole;
    double per_period = s->duty * s->high_w + (1 - s->duty) * s->low_w;
    double in_part = fmin(part, s->duty) * s->high_w + fmax(0, part - s->duty) * s->low_w;
    return s->period_s * (whole * per_period + in_part);
}

static const Segment *segment_at(const Device *d, double t) {
    int i = d->segment_count - 1;
    while (i > 0 && d->segments[i].start > t) i--;
    return &d->segments[i];
}

static double energy_at(const Device *d, double t) {
    const Segment *s = segment_at(d, t);
    return s->before_j + primitive(s, t) - primitive(s, s->start);
}

static double power_at(const Device *d, double t) {
    const Segment *s = segment_at(d, t);
    double periods = (t - s->phase_s) / s->period_s;
    return periods - floor(periods) < s->duty ? s->high_w : s->low_w;
}

/* Before nvmlInit a profile is the device's whole past; after it, a change from now on. */
static void set_profile(Device *d, double low_w, double high_w, double period_s, double duty, double phase_s) {
    double start = used ? now() : 0, before_j = used ? energy_at(d, start) : 0;
    if (!used) d->segment_count = 0;
    if (d->segment_count == d->segment_room) {
        d->segment_room = d->segment_room ? 2 * d->segment_room : 8;
        d->segments = realloc(d->segments, sizeof(Segment) * (size_t)d->segment_room);
    }
    d->segments[d->segment_count++] = (Segment){start, before_j, low_w, high_w, period_s, duty, phase_s};
}

static unsigned long long counter_mj(const Device *d, double t) {
    if (d->refresh_s > 0) t = floor(t / d->refresh_s) * d->refresh_s;
    double since = d->reset_at > 0 ? energy_at(d, fmax(t, d->reset_at)) - energy_at(d, d->reset_at) : energy_at(d, t);
    return (unsigned long long)fmax(0, floor(1e3 * (since + d->offset_j)));
}

static unsigned power_mw(const Device *d, int average) {
    double t = now(), watts = average ? energy_at(d, t) - energy_at(d, t - 1) : power_at(d, t);
    return (unsigned)(1e3 * watts * d->power_scale + 0.5);
}

/* ---- Configuration ---- */

static int find_call(const char *name) {
    for (int call = 0; call < CALL_COUNT; call++)
        if (!strcmp(name, CALLS[call])) return call;
    return -1;
}

static int set_device_key(int device, const char *key, const char *value) {
    Device *d = &devices[device];
    if (!strcmp(key, "profile")) {
        double low, high, period = 1, duty = 0.5, phase = 0;
        if (sscanf(value, "constant:%lf", &low) == 1) high = low;
        else if (sscanf(value, "square:%lf,%lf,%lf,%lf,%lf", &low, &high, &period, &duty, &phase) < 3) return 0;
        set_profile(d, low, high, period, duty, phase);
    } else if (!strcmp(key, "refresh_s")) d->refresh_s = atof(value);
    else if (!strcmp(key, "offset_j")) d->offset_j = atof(value);
    else if (!strcmp(key, "limit_w")) d->limit_w = atof(value);
    else if (!strcmp(key, "power_scale")) d->power_scale = atof(value);
    else if (!strcmp(key, "mig")) d->mig_count = atoi(value);
    else if (!strcmp(key, "power_usage")) d->average_usage = !strcmp(value, "average");
    else if (!strcmp(key, "uuid")) snprintf(d->uuid, NAME_SIZE, "%s", value);
    else if (!strcmp(key, "name")) snprintf(d->name, NAME_SIZE, "%s", value);
    else if (!strcmp(key, "pids")) {
        for (d->pid_count = 0; *value && d->pid_count < MAX_PIDS; value += strspn(value, ","))
            d->pids[d->pid_count++] = (unsigned)strtoul(value, (char **)&value, 10);
    } else return 0;
    return 1;
}

static int set_fault_key(int device, int call, const char *kind, const char *value) {
    Fault *f = &faults[device][call];
    const char *at = strchr(value, '@');
    double from = at ? now() + atof(at + 1) : 0;
    if (!strcmp(kind, "error")) f->error = atoi(value), f->error_from = from;
    else if (!strcmp(kind, "latency")) f->latency_s = atof(value);
    else if (!strcmp(kind, "hang")) f->hang = atoi(value), f->hang_from = from;
    else return 0;
    return 1;
}

static int set_key(int only, char *key, const char *value) {
    int done = 1, first = only < 0 ? 0 : only, last = only < 0 ? MAX_DEVICES - 1 : only;
    char *dot = strchr(key, '.');
    if (!strcmp(key, "devices")) return (device_count = atoi(value)) >= 0 && device_count <= MAX_DEVICES;
    int call = dot ? (*dot = 0, find_call(dot + 1)) : -1;
    if (dot && call < 0) return 0;
    if (dot && call < FIRST_DEVICE_CALL) return set_fault_key(EVERYWHERE, call, key, value);
    for (int i = first; i <= last; i++) done &= dot ? set_fault_key(i, call, key, value) : set_device_key(i, key, value);
    return done;
}

/* Returns 0, or the number (from 1) of the item that can't be read. */
static int configure(const char *text) {
    char *copy = strdup(text), *rest = copy, *item;
    int number = 0, wrong = 0;
    while (!wrong && (item = strsep(&rest, ";"))) {
        number++;
        if (!*item) continue;
        int device = -1, skip = 0;
        char *equals = strchr(item, '=');
        if (!equals) { wrong = number; break; }
        *equals = 0;
        if (sscanf(item, "d%d.%n", &device, &skip) != 1 || !skip) device = -1, skip = 0;
        if (device >= MAX_DEVICES || !set_key(device, item + skip, equals + 1)) wrong = number;
    }
    free(copy);
    return wrong;
}

static void forget_everything(void) {
    memset(faults, 0, sizeof faults);
    users = used = 0, device_count = 1;
    for (int i = 0; i < MAX_DEVICES; i++) {
        Device *d = &devices[i];
        *d = (Device){.segments = d->segments, .segment_room = d->segment_room, .limit_w = 700, .power_scale = 1,
                      .generation = ++generations & 0xffff};
        snprintf(d->name, NAME_SIZE, "NVIDIA H100 80GB HBM3");
        snprintf(d->uuid, NAME_SIZE, "GPU-%08x-fa4e-4000-8000-%012x", 0xa0b1c200u + 0x01010101u * (unsigned)i, (unsigned)i);
        set_profile(d, 300, 300, 1, 0.5, 0);
    }
}

static void after_fork(void) {
    mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    released = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}

__attribute__((constructor)) static void loaded(void) {
    pthread_atfork(NULL, NULL, after_fork);
    forget_everything();
}

/* ---- The gate that every NVML call passes ---- */

/* Counts, sleeps and hangs; returns the call's error code WITH THE MUTEX HELD: end with `leave`. */
static int enter(int device, int call) {
    Fault *one = &faults[device][call], *all = &faults[device][ALL];
    pthread_mutex_lock(&mutex);
    one->calls++;
    double latency_s = fmax(one->latency_s, all->latency_s);
    if (latency_s > 0) {
        pthread_mutex_unlock(&mutex);
        pause_s(latency_s);
        pthread_mutex_lock(&mutex);
    }
    while ((one->hang && now() >= one->hang_from) || (all->hang && now() >= all->hang_from))
        pthread_cond_wait(&released, &mutex);
    if (users == 0 && call != INIT) return UNINITIALIZED;
    if (all->error && now() >= all->error_from) return all->error;
    return one->error && now() >= one->error_from ? one->error : OK;
}

static int leave(int code) {
    pthread_mutex_unlock(&mutex);
    return code;
}

static Handle make_handle(int device, int slice) {
    return ((Handle)0xFA4E << 32) | ((Handle)devices[device].generation << 16) | (Handle)(device << 8) | (Handle)(slice + 1);
}

static int slice_of(Handle h) { return (int)(h & 0xff) - 1; }

static int enter_handle(Handle h, int call, Device **d) {
    int device = (int)(h >> 8 & 0xff);
    if (h >> 32 != 0xFA4E || device >= MAX_DEVICES) { pthread_mutex_lock(&mutex); return INVALID_ARGUMENT; }
    int code = enter(device, call);
    *d = &devices[device];
    return code ? code : (h >> 16 & 0xffff) == (*d)->generation ? OK : INVALID_ARGUMENT;
}

/* Energy and power exist for whole boards only. */
static int enter_board(Handle h, int call, Device **d) {
    int code = enter_handle(h, call, d);
    return code || slice_of(h) < 0 ? code : NOT_SUPPORTED;
}

static void slice_uuid(int device, int slice, char *out, unsigned size) {
    snprintf(out, size, "MIG-%08x-fa4e-5000-8000-%012x", 0xb0c1d200u + 0x01010101u * (unsigned)(device * 16 + slice), (unsigned)device);
}

/* ---- NVML ---- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&mutex);
    const char *text = configured ? NULL : getenv("FAKE_NVML");
    configured = 1;
    int wrong = text ? configure(text) : 0;
    pthread_mutex_unlock(&mutex);
    if (wrong) fprintf(stderr, "FAKE_NVML: item %d of %s can't be read\n", wrong, text);
    int code = enter(EVERYWHERE, INIT);
    if (wrong) code = UNKNOWN;
    if (!code) users++, used = 1;
    return leave(code);
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlInit(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    int code = enter(EVERYWHERE, SHUTDOWN);
    if (!code) users--;
    return leave(code);
}

const char *nvmlErrorString(int code) {
    switch (code) {
    case 0: return "Success";
    case 1: return "Uninitialized";
    case 2: return "Invalid Argument";
    case 3: return "Not Supported";
    case 4: return "Insufficient Permissions";
    case 6: return "Not Found";
    case 7: return "Insufficient Size";
    case 9: return "Driver Not Loaded";
    case 10: return "Timeout";
    case 12: return "NVML Shared Library Not Found";
    case 13: return "Function Not Found";
    case 15: return "GPU is lost";
    case 16: return "GPU requires restart";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    int code = enter(EVERYWHERE, DRIVER_VERSION);
    if (!code) snprintf(version, size, "999.00.fake");
    return leave(code);
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    int code = enter(EVERYWHERE, COUNT);
    if (!code) *count = (unsigned)device_count;
    return leave(code);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle *h) {
    int code = enter(index < MAX_DEVICES ? (int)index : EVERYWHERE, HANDLE_BY_INDEX);
    if (!code && index >= (unsigned)device_count) code = INVALID_ARGUMENT;
    if (!code) *h = make_handle((int)index, -1);
    return leave(code);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Handle *h) {
    char text[NAME_SIZE];
    int device = EVERYWHERE, slice = -1;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < device_count; i++) {
        if (!strcmp(uuid, devices[i].uuid)) device = i;
        for (int k = 0; k < devices[i].mig_count; k++) {
            slice_uuid(i, k, text, NAME_SIZE);
            if (!strcmp(uuid, text)) device = i, slice = k;
        }
    }
    pthread_mutex_unlock(&mutex);
    int code = enter(device, HANDLE_BY_UUID);
    if (!code && device == EVERYWHERE) code = NOT_FOUND;
    if (!code) *h = make_handle(device, slice);
    return leave(code);
}

int nvmlDeviceGetUUID(Handle h, char *uuid, unsigned size) {
    Device *d;
    int code = enter_handle(h, UUID, &d);
    if (!code && slice_of(h) < 0) snprintf(uuid, size, "%s", d->uuid);
    else if (!code) slice_uuid((int)(d - devices), slice_of(h), uuid, size);
    return leave(code);
}

int nvmlDeviceGetName(Handle h, char *name, unsigned size) {
    Device *d;
    int code = enter_handle(h, NAME, &d);
    if (!code) snprintf(name, size, slice_of(h) < 0 ? "%s" : "%s MIG 1g.10gb", d->name);
    return leave(code);
}

int nvmlDeviceGetIndex(Handle h, unsigned *index) {
    Device *d;
    int code = enter_handle(h, INDEX, &d);
    if (!code) *index = (unsigned)(slice_of(h) < 0 ? d - devices : slice_of(h));
    return leave(code);
}

int nvmlDeviceGetPciInfo_v3(Handle h, PciInfo *info) {
    Device *d;
    int code = enter_handle(h, PCI_INFO, &d);
    if (!code) {
        *info = (PciInfo){.bus = 0x10 + (unsigned)(d - devices), .device_id = 0x233010de};
        snprintf(info->bus_id, sizeof info->bus_id, "00000000:%02X:00.0", info->bus);
        snprintf(info->legacy_bus_id, sizeof info->legacy_bus_id, "0000:%02X:00.0", info->bus);
    }
    return leave(code);
}

int nvmlDeviceGetMigMode(Handle h, unsigned *current, unsigned *pending) {
    Device *d;
    int code = enter_board(h, MIG_MODE, &d);
    if (!code) *current = *pending = d->mig_count > 0;
    return leave(code);
}

int nvmlDeviceGetMaxMigDeviceCount(Handle h, unsigned *count) {
    Device *d;
    int code = enter_board(h, MAX_MIG_COUNT, &d);
    if (!code) *count = d->mig_count > 0 ? 7 : 0;
    return leave(code);
}

int nvmlDeviceGetMigDeviceHandleByIndex(Handle h, unsigned index, Handle *slice) {
    Device *d;
    int code = enter_board(h, MIG_HANDLE, &d);
    if (!code && index >= (unsigned)d->mig_count) code = NOT_FOUND;
    if (!code) *slice = make_handle((int)(d - devices), (int)index);
    return leave(code);
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Handle slice, Handle *h) {
    Device *d;
    int code = enter_handle(slice, PARENT_HANDLE, &d);
    if (!code && slice_of(slice) < 0) code = INVALID_ARGUMENT;
    if (!code) *h = make_handle((int)(d - devices), -1);
    return leave(code);
}

int nvmlDeviceGetTotalEnergyConsumption(Handle h, unsigned long long *mj) {
    Device *d;
    int code = enter_board(h, TOTAL_ENERGY, &d);
    if (!code) *mj = counter_mj(d, now());
    return leave(code);
}

static int field_value(Device *d, FieldValue *v) {
    int call = v->field == 83 ? FIELD_83 : v->field == 185 ? FIELD_185 : v->field == 186 ? FIELD_186 : -1;
    if (call < 0 || v->scope != 0) return NOT_SUPPORTED;
    Fault *f = &faults[d - devices][call];
    f->calls++;
    if (f->error && now() >= f->error_from) return f->error;
    v->type = call == FIELD_83 ? 3 : 1; /* NVML_VALUE_TYPE_UNSIGNED_LONG_LONG, NVML_VALUE_TYPE_UNSIGNED_INT */
    if (call == FIELD_83) v->value.ull = counter_mj(d, now());
    else v->value.ui = power_mw(d, call == FIELD_185);
    return OK;
}

int nvmlDeviceGetFieldValues(Handle h, int count, FieldValue *values) {
    Device *d;
    int code = enter_board(h, FIELD_VALUES, &d);
    for (int i = 0; !code && i < count; i++) values[i].code = field_value(d, &values[i]);
    return leave(code);
}

int nvmlDeviceGetPowerUsage(Handle h, unsigned *mw) {
    Device *d;
    int code = enter_board(h, POWER_USAGE, &d);
    if (!code) *mw = power_mw(d, d->average_usage);
    return leave(code);
}

static int limit(Handle h, int call, unsigned *mw) {
    Device *d;
    int code = enter_board(h, call, &d);
    if (!code) *mw = (unsigned)(1e3 * d->limit_w);
    return leave(code);
}

int nvmlDeviceGetEnforcedPowerLimit(Handle h, unsigned *mw) { return limit(h, POWER_LIMIT, mw); }
int nvmlDeviceGetPowerManagementDefaultLimit(Handle h, unsigned *mw) { return limit(h, DEFAULT_POWER_LIMIT, mw); }

int nvmlDeviceGetComputeRunningProcesses_v3(Handle h, unsigned *count, ProcessInfo *infos) {
    Device *d;
    int code = enter_handle(h, PROCESSES, &d);
    if (code) return leave(code);
    unsigned room = infos ? *count : 0;
    *count = (unsigned)d->pid_count;
    for (unsigned i = 0; i < *count && i < room; i++)
        infos[i] = (ProcessInfo){d->pids[i], 1ull << 30, 0xffffffff, 0xffffffff};
    return leave(room < *count ? INSUFFICIENT_SIZE : OK);
}

/* ---- Control, for tests in this process ---- */

int fake_reset(const char *text) {
    pthread_mutex_lock(&mutex);
    configured = 1;
    forget_everything();
    int wrong = configure(text);
    pthread_cond_broadcast(&released);
    return leave(wrong);
}

/* As on a machine without an NVIDIA driver. */
void fake_remove(void) { fake_reset("devices=0;error.init=12"); }

void fake_set_square(int device, double low_w, double high_w, double period_s, double duty, double phase_s) {
    pthread_mutex_lock(&mutex);
    set_profile(&devices[device], low_w, high_w, period_s, duty, phase_s);
    pthread_mutex_unlock(&mutex);
}

void fake_set_power(int device, double watts) { fake_set_square(device, watts, watts, 1, 0.5, 0); }

void fake_set_refresh(int device, double refresh_s) {
    pthread_mutex_lock(&mutex);
    devices[device].refresh_s = refresh_s;
    pthread_mutex_unlock(&mutex);
}

/* The functions on faults return 0 where there is no such call. `device` -1 means calls that name no device. */
static Fault *fault(int device, const char *call) {
    int number = find_call(call);
    return number < 0 ? NULL : &faults[device < 0 ? EVERYWHERE : device][number];
}

int fake_set_error(int device, const char *call, int code) {
    pthread_mutex_lock(&mutex);
    Fault *f = fault(device, call);
    if (f) f->error = code, f->error_from = 0;
    return leave(f != NULL);
}

int fake_set_latency(int device, const char *call, double seconds) {
    pthread_mutex_lock(&mutex);
    Fault *f = fault(device, call);
    if (f) f->latency_s = seconds;
    return leave(f != NULL);
}

int fake_set_hang(int device, const char *call, int on) {
    pthread_mutex_lock(&mutex);
    Fault *f = fault(device, call);
    if (f) f->hang = on, f->hang_from = 0;
    pthread_cond_broadcast(&released);
    return leave(f != NULL);
}

/* Zero, as after a driver reload. */
void fake_reset_counter(int device) {
    pthread_mutex_lock(&mutex);
    devices[device].reset_at = now();
    devices[device].offset_j = 0;
    pthread_mutex_unlock(&mutex);
}

/* A leap that no power explains. */
void fake_add_to_counter(int device, double joules) {
    pthread_mutex_lock(&mutex);
    devices[device].offset_j += joules;
    pthread_mutex_unlock(&mutex);
}

/* Handles given out so far become invalid, as after a GPU reset. */
void fake_invalidate_handles(int device) {
    pthread_mutex_lock(&mutex);
    devices[device].generation = ++generations & 0xffff;
    pthread_mutex_unlock(&mutex);
}

double fake_energy_j(int device, double t0, double t1) {
    pthread_mutex_lock(&mutex);
    double joules = energy_at(&devices[device], t1) - energy_at(&devices[device], t0);
    pthread_mutex_unlock(&mutex);
    return joules;
}

/* Calls made so far, of all devices. */
long fake_calls(const char *call) {
    long sum = 0;
    pthread_mutex_lock(&mutex);
    for (int device = 0; device <= MAX_DEVICES; device++)
        for (int number = 0; number < CALL_COUNT; number++)
            if (!strcmp(call, "all") || number == find_call(call)) sum += faults[device][number].calls;
    pthread_mutex_unlock(&mutex);
    return sum;
}

int fake_device_count(void) { return device_count; }
