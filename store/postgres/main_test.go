package postgres

import (
	"os"
	"testing"

	"github.com/jobcontrol/jobcontrol/internal/pgtest"
)

var server pgtest.Server

func TestMain(m *testing.M) { os.Exit(server.Main(m)) }
