package house

// module is the path of this module; packages are named below by their folder in it.
const module = "github.com/jobcontrol/jobcontrol"

// layout says which packages of this module a package may import, tests apart. The root is "."; a row that ends in
// "/..." holds for every package below that folder that has no row of its own. A row may wait for its package.
//
// The directions: the root is the domain and knows only graph; adapters know only the root; cli alone knows stores,
// config and server, and wires them.
var layout = map[string][]string{
	".":            {"graph"},
	"graph":        {},
	"graph/layout": {"graph"},

	"config":          {".", "graph", "config/template"},
	"config/template": {"."},
	"engine":          {".", "internal/redact"},
	"executor":        {"."},
	"executor/python": {"."},
	"worker":          {".", "engine"},
	"scheduler":       {"."},
	"store/codec":     {"."},
	"store/sqlite":    {".", "store/codec"},
	"store/postgres":  {".", "store/codec"},
	"store/storetest": {"."},
	"remote":          {"."},

	"internal/api":           {"."},
	"internal/web":           {".", "graph/layout"},
	"internal/telemetry":     {"."},
	"internal/benchmark":     {".", "executor", "worker"},
	"internal/bounds":        {},
	"internal/chaos":         {".", "graph", "engine", "executor", "worker", "scheduler", "store/sqlite", "store/postgres", "internal/pgtest"},
	"internal/crash":         {".", "graph", "engine", "executor", "worker", "scheduler", "store/sqlite", "store/postgres"},
	"internal/dojobbermodel": {},
	"internal/fault":         {},
	"internal/faults":        {},
	"internal/house":         {},
	"internal/pgtest":        {},
	"internal/pgtest/serve":  {"internal/pgtest"},
	"internal/redact":        {},

	"server": {
		".", "graph", "engine", "executor", "executor/python", "worker", "scheduler", "remote",
		"internal/api", "internal/web", "internal/telemetry",
	},
	"cli": {
		".", "graph", "graph/layout", "config", "engine", "executor", "executor/python", "worker", "scheduler",
		"store/sqlite", "store/postgres", "remote", "server", "internal/benchmark", "internal/telemetry",
	},
	"cmd/jobcontrol": {"cli"},

	"bench":        {".", "graph", "engine", "executor", "worker", "scheduler", "internal/benchmark", "store/sqlite", "store/postgres"},
	"examples/...": {".", "cli"},
}

// everywhere are the packages of this module that any other may import; they import none themselves.
var everywhere = []string{"internal/fault"}

// libraries says which packages may import what is neither ours nor the standard library's. A library holds for the
// packages below its path too. Test files may import every library listed here.
var libraries = map[string][]string{
	"github.com/nikolalohinski/gonja/v2": {"config/template"},
	"go.yaml.in/yaml/v4":                 {"config"},
	"github.com/invopop/jsonschema":      {"config"},

	"modernc.org/sqlite":      {"store/sqlite", "internal/chaos"},
	"github.com/jackc/pgx/v5": {"store/postgres", "internal/pgtest"},

	"github.com/spf13/cobra":    {"cli"},
	"golang.org/x/term":         {"cli"},
	"golang.org/x/image":        {"graph/layout"},
	"github.com/lmittmann/tint": {"cli"},
	"golang.org/x/sys":          {"executor", "executor/python", "worker", "server", "store/sqlite", "cli"},

	"github.com/danielgtaylor/huma/v2":    {"internal/api"},
	"github.com/yuin/goldmark":            {"internal/web"},
	"github.com/prometheus/client_golang": {"internal/telemetry"},
	"go.opentelemetry.io/otel":            {"internal/telemetry"},

	// For tests, and for the packages that are made of them.
	"github.com/google/go-cmp":        {"store/storetest", "internal/crash"},
	"github.com/rogpeppe/go-internal": {},
	"pgregory.net/rapid":              {"store/storetest", "internal/crash"},
	"go.uber.org/goleak":              {},
	"github.com/chromedp/chromedp":    {},
}

// emptyNames say nothing about what is in a file or a package.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "types", "models", "misc"}

// maxLines is the length of a file, tests and generated files apart, beyond which it wants to be two.
const maxLines = 600

// needles are words of a developer's machine, none of which belongs into the repository. They are put together here
// so that this file does not have them. One that begins with a slash is found only where a path begins.
var needles = []string{
	"/work" + "/",
	"/root" + "/go",
	"proxy." + "golang",
	"sum." + "golang",
}
