// Package gosuite runs the snapshotter suite of containerd's own tests against floe-snapshotter, as containerd sees it: over its
// proxy client and a Unix socket. Every case gets a snapshotter of its own, with its own root.
package gosuite

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/pkg/testutil"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/proxy"
	"github.com/containerd/containerd/snapshots/testsuite"
	"google.golang.org/grpc"
)

var program = flag.String("floe.snapshotter", "", "path of floe-snapshotter")

const (
	// The suite skips what overlayfs cannot do (renaming a lower directory) for this name.
	suiteName    = "overlayfs"
	startTimeout = 30 * time.Second
	stopTimeout  = 30 * time.Second
)

// daemon is a running floe-snapshotter.
type daemon struct {
	command *exec.Cmd
	log     bytes.Buffer
	exited  chan error
	conn    *grpc.ClientConn
}

func startDaemon(ctx context.Context, root string) (*daemon, error) {
	// Sockets have short paths, so it does not lie in the test's directory but beside the root.
	socket := filepath.Join(filepath.Dir(root), "s")
	d := &daemon{
		command: exec.Command(*program, "--root", root, "--address", socket, "--log-level", "debug"),
		exited:  make(chan error, 1),
	}
	d.command.Stdout = &d.log
	d.command.Stderr = &d.log
	d.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.command.Start(); err != nil {
		return nil, err
	}
	go func() { d.exited <- d.command.Wait() }()

	dialContext, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := grpc.DialContext(dialContext, socket, grpc.WithInsecure(), grpc.WithBlock(),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}))
	if err != nil {
		_ = d.command.Process.Kill()
		<-d.exited
		return nil, fmt.Errorf("floe-snapshotter does not answer: %w\n%s", err, d.log.String())
	}
	d.conn = conn
	return d, nil
}

// stop ends the daemon as a service manager would and wants it to end well.
func (d *daemon) stop() error {
	_ = d.conn.Close()
	if err := d.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-d.exited:
		if err != nil {
			return fmt.Errorf("floe-snapshotter: %w\n%s", err, d.log.String())
		}
		return nil
	case <-time.After(stopTimeout):
		_ = d.command.Process.Kill()
		return fmt.Errorf("floe-snapshotter did not end within %s\n%s", stopTimeout, d.log.String())
	}
}

func newSnapshotter(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
	d, err := startDaemon(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	snapshotter := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(d.conn), suiteName)
	closer := func() error {
		// What the case left mounted would keep the directories of the suite from being removed.
		err := snapshotter.(snapshots.Cleaner).Cleanup(ctx)
		if stopErr := d.stop(); err == nil {
			err = stopErr
		}
		return err
	}
	return snapshotter, closer, nil
}

func TestSnapshotterSuite(t *testing.T) {
	testutil.RequiresRoot(t)
	if _, err := os.Stat(*program); err != nil {
		t.Fatalf("-floe.snapshotter: %v", err)
	}
	testsuite.SnapshotterSuite(t, suiteName, newSnapshotter)
}
