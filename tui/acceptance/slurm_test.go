//go:build linux

package acceptance_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hatchery/engine/runs"
)

// cluster is a Slurm cluster of two nodes with processes and a host name of its own. The
// workplace is its login node.
type cluster struct {
	*workplace
	conf  string // folder with the configuration and state of Slurm
	shell io.Writer
}

// newCluster starts a cluster. It ends with all its jobs at the end of the test.
func newCluster(t *testing.T) *cluster {
	for _, name := range []string{"slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "unshare"} {
		tool(t, name)
	}
	c := &cluster{workplace: newWorkplace(t)}
	// Names that a shell, sbatch or one of its file name patterns would split or expand.
	c.runs = filepath.Join(c.dir, `runs of "%j" & it's`)
	if err := os.Mkdir(c.runs, 0o755); err != nil {
		t.Fatal(err)
	}
	c.conf = filepath.Join(c.dir, "slurm")
	c.configure()
	c.env = append(slices.DeleteFunc(c.env, func(v string) bool { return strings.HasPrefix(v, "HATCHERY_RUNS=") }),
		"HATCHERY_RUNS="+c.runs, "SLURM_CONF="+c.conf+"/slurm.conf", "SECRET=do not tell")
	c.start()
	return c
}

// configure writes the configuration of a cluster whose daemons listen only on the loopback
// interface. It has no authentication, because nothing else can connect.
func (c *cluster) configure() {
	c.Helper()
	ports := make([]any, 3)
	for i := range ports {
		ports[i] = freePort(c)
	}
	text := strings.ReplaceAll(fmt.Sprintf(`ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=%d
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=DIR/state
SlurmctldPidFile=DIR/slurmctld.pid
SlurmctldLogFile=DIR/slurmctld.log
SlurmdPidFile=DIR/%%n.pid
SlurmdLogFile=DIR/%%n.log
SlurmdSpoolDir=DIR/%%n
SlurmdParameters=config_overrides
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=0
KillWait=5
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=DEFAULT CPUs=4 RealMemory=4000 Gres=gpu:2 State=UNKNOWN
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=%d
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=%d
PartitionName=low  Nodes=n[1-2] Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=n[1-2] State=UP PriorityTier=10 PreemptMode=OFF
`, ports[0], ports[1], ports[2]), "DIR", c.conf)
	gres := "NodeName=n1 Name=gpu File=/dev/null,/dev/zero\nNodeName=n2 Name=gpu File=/dev/full,/dev/random\n"
	for _, folder := range []string{c.conf, c.conf + "/state", c.conf + "/n1", c.conf + "/n2"} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			c.Fatal(err)
		}
	}
	version, err := exec.Command(tool(c, "slurmctld"), "-V").Output()
	if err != nil {
		c.Fatal(err)
	}
	files := map[string]string{"slurm.conf": text, "gres.conf": gres}
	if old := regexp.MustCompile(` 2[0-2]\.`).Match(version); !old {
		files["cgroup.conf"] = "CgroupPlugin=disabled\n"
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(c.conf, name), []byte(text), 0o644); err != nil {
			c.Fatal(err)
		}
	}
}

// nextPort is below the range of ephemeral ports, so that no other program gets a port
// between its choice and the start of a daemon.
var nextPort = func() *atomic.Int32 {
	var n atomic.Int32
	n.Store(10000 + rand.Int32N(20000))
	return &n
}()

// freePort returns a free port of the loopback interface. It never returns a port twice.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := int(nextPort.Add(1))
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// start starts the daemons and waits for the nodes. The daemons are children of a shell that
// accepts commands, and end with it.
func (c *cluster) start() {
	c.Helper()
	args := []string{"--uts", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	cmd := exec.Command(tool(c, "unshare"), append(args, "--", "sh")...)
	// Jobs get only what they are given, whatever the daemons have.
	cmd.Env = append(slices.Clone(c.env), "PATH="+os.Getenv("PATH")+":/usr/sbin")
	log, err := os.Create(filepath.Join(c.conf, "start.log"))
	if err != nil {
		c.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		c.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		if c.Failed() {
			c.logOutput()
		}
		in.Close()
		cmd.Process.Kill() // and with it all that is in there
		cmd.Wait()
	})
	c.shell = in
	fmt.Fprintf(in, `hostname localhost
slurmctld -i -c 1>&2 && slurmd -N n1 1>&2 && slurmd -N n2 1>&2 || exit 1
until [ "$(sinfo -h -N -p low -o %%t 2>/dev/null | grep -c '^idle$')" = 2 ]; do
	for f in %[1]s/*.pid; do [ ! -s $f ] || kill -0 $(cat $f) || exit 1; done
	sleep 0.05
done
echo up
`, c.conf)
	up := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(out).ReadString('\n')
		up <- err
	}()
	select {
	case err = <-up:
	case <-time.After(patience):
		err = fmt.Errorf("not after %v", patience)
	}
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		c.Fatalf("the cluster does not start: %v\n%s", err, text)
	}
}

// logOutput logs the output of the daemons and the jobs.
func (c *cluster) logOutput() {
	files, _ := filepath.Glob(c.conf + "/*.log")
	more, _ := filepath.Glob(filepath.Join(c.dir, "runs*", "*", "attempts", "*.out"))
	for _, f := range append(files, more...) {
		text, _ := os.ReadFile(f)
		c.Logf("%s\n%s", f, text[max(0, len(text)-1500):])
	}
}

// slurm executes one of Slurm's commands.
func (c *cluster) slurm(name string, args ...string) string {
	c.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// submit submits a run and returns its name.
func (c *cluster) submit(flags []string, sets ...string) string {
	c.Helper()
	return c.begin(append([]string{"submit"}, flags...), sets)
}

// TestSlurm runs jobs on clusters. They wait for Slurm most of the time, so all subtests run
// in parallel, whatever the number of cores.
func TestSlurm(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for name, test := range map[string]func(*testing.T){
		"graph": slurmGraph, "preemption": slurmPreemption, "failure": slurmFailure, "node": slurmNode,
	} {
		all.Go(func() { t.Run(name, test) })
	}
	all.Wait()
}

// slurmGraph runs the complete algorithm and the baseline as jobs. The time of one module is
// up twice.
func slurmGraph(t *testing.T) {
	c := newCluster(t)
	id := c.submit([]string{"--cpus=1", "--gres=gpu:1", "--time=1:00:00"}, "modular.epochs=80")
	want := c.local("modular.epochs=80")
	for attempt := 1; attempt <= 2; attempt++ {
		st := c.working(id, "module-2", attempt)
		c.slurm("scancel", "--signal=USR1", "--batch", st.Job)
		c.until("a requeue", func() bool {
			st = c.stage(id, "module-2")
			return st.Phase == runs.Waiting || st.Attempt > attempt
		}, func() string { return c.run("status", id) })
	}
	c.run("wait", id)
	c.same(want, id)
	if st := c.stage(id, "module-2"); st.Requeues != 2 || st.Attempt != 3 || len(st.Points) != 80 {
		t.Errorf("module-2 was requeued %d times, has attempt %d and %d points", st.Requeues, st.Attempt, len(st.Points))
	}
	if st := c.stage(id, "module-1"); st.Attempt != 1 {
		t.Errorf("module-1, which nobody disturbed, has attempt %d", st.Attempt)
	}
	if s := c.state(id); s.Phase != runs.Finished || len(s.Results) != 2 {
		t.Errorf("the run is %s with %d results", s.Phase, len(s.Results))
	}
	if status := c.run("status", id); !strings.Contains(status, "quickstart: done") {
		t.Errorf("status says %s", status)
	}
	if logs := c.run("logs", id); !strings.Contains(logs, "module-2.3.log <==") || !strings.Contains(logs, "its time is nearly up") {
		t.Errorf("logs are %s", logs)
	}
	// Stages that are done are not submitted again, and no job saw what it need not know.
	if again := c.run("resume", id); again != "every stage is done\n" {
		t.Errorf("resumed: %s", again)
	}
	c.hidden("do not tell")
}

// hidden fails if a job could read a text.
func (c *cluster) hidden(secret string) {
	c.Helper()
	filepath.WalkDir(c.conf+"/state", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), secret) {
				c.Errorf("%s holds what only the login node may know", path)
			}
		}
		return nil
	})
}

// slurmPreemption checks that a run survives when a job of a partition with higher priority
// takes its node, and can be stopped and resumed.
func slurmPreemption(t *testing.T) {
	c := newCluster(t)
	sets := []string{`run.methods=["e2e"]`, "e2e.epochs=120"}
	id := c.submit(nil, sets...)
	want := c.local(sets...)
	c.working(id, "e2e", 1)
	c.slurm("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 0.1")
	c.until("a requeue", func() bool { return c.stage(id, "e2e").Phase != runs.Running }, func() string { return c.run("status", id) })
	c.working(id, "e2e", 2)
	if status := c.run("status", id); !regexp.MustCompile(`e2e +running on localhost, requeued once`).MatchString(status) {
		t.Errorf("status says %s", status)
	}
	events, err := runs.ReadEvents(filepath.Join(c.runs, id))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(events, func(e runs.Event) bool {
		return e.Kind == runs.Requeued && e.Message == "its node is taken away: the job is requeued"
	}) {
		t.Errorf("the events do not tell of the preemption: %+v", events)
	}

	said := c.run("stop", id)
	if !strings.Contains(said, "stopped\nresume with: hatchery resume "+id) {
		t.Errorf("stop says %s", said)
	}
	at := c.stage(id, "e2e")
	if at.Phase != runs.Stopped || at.Checkpoint == "" {
		t.Errorf("stopped, the stage is %+v", at)
	}
	if queue := c.slurm("squeue", "--noheader", "--states=PD,R"); queue != "" {
		t.Errorf("in the queue is %s", queue)
	}
	if list := c.run("runs"); !regexp.MustCompile(id + ` +interrupted`).MatchString(list) {
		t.Errorf("runs says %s", list)
	}
	c.fails(3, "wait", id)
	c.fails(2, "stop", id)
	if said := c.run("resume", id); said != "submitted e2e\n" {
		t.Errorf("resume says %s", said)
	}
	c.run("wait", id)
	c.same(want, id)
}

// slurmFailure checks that when a module fails, dependent jobs are cancelled, and that resume
// submits the missing stages when the cause is fixed.
func slurmFailure(t *testing.T) {
	c := newCluster(t)
	only := `run.methods=["assembling"]`
	other := c.local(only, "seed=1")
	c.run("wait", other)
	want := c.local(only, "meta.epochs=40")
	// The module has started with another meta model.
	id := c.submit(nil, only, "meta.epochs=40")
	folder := filepath.Join(c.runs, id, "stages", "module-2")
	if err := os.MkdirAll(filepath.Dir(folder), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(c.runs, other, "stages", "module-2"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "done")); err != nil {
		t.Fatal(err)
	}
	said := c.fails(1, "wait", id)
	for _, want := range []string{"(?s)module-2 failed: .*the weights of stage meta have changed since module-2 was trained", `assemble, finetune are cancelled`, "hatchery resume " + id} {
		if !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("wait does not say %q: %s", want, said)
		}
	}
	status := c.run("status", id)
	for _, want := range []string{"quickstart: failed", `module-1 +done`, `module-2 +failed`, `finetune +cancelled`} {
		if !regexp.MustCompile(want).MatchString(status) {
			t.Errorf("status does not say %q: %s", want, status)
		}
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if said := c.run("resume", id); said != "submitted module-2, assemble, finetune\n" {
		t.Errorf("resume says %s", said)
	}
	c.run("wait", id)
	c.same(want, id)
}

// slurmNode checks that a run survives when a node hangs, is marked as down, and comes back
// while its job runs on another node.
func slurmNode(t *testing.T) {
	c := newCluster(t)
	sets := []string{`run.methods=["e2e"]`, "e2e.epochs=80"}
	id := c.submit(nil, sets...)
	want := c.local(sets...)
	st := c.working(id, "e2e", 1)
	first := func() runs.Status {
		var s runs.Status
		text, err := os.ReadFile(filepath.Join(c.runs, id, "attempts", "e2e.1.json"))
		if err == nil {
			err = json.Unmarshal(text, &s)
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	pid := strconv.Itoa(first().PID)
	node := c.slurm("squeue", "--noheader", "--format=%N", "--jobs="+st.Job)
	fmt.Fprintf(c.shell, "kill -STOP %s $(cat %s/%s.pid)\n", pid, c.conf, node)
	c.slurm("scontrol", "update", "nodename="+node, "state=down", "reason=test")
	c.working(id, "e2e", 2)
	fmt.Fprintf(c.shell, "kill -CONT %s\n", pid)
	c.until("the end of the old process", func() bool { return first().Phase != runs.Running }, func() string { return fmt.Sprint(first()) })
	if s := first(); !strings.Contains(s.Message, "attempt 2 has taken over stage e2e") {
		t.Errorf("the old process ended with %q", s.Message)
	}
	c.run("wait", id)
	if st := c.stage(id, "e2e"); st.Attempt != 2 || len(st.Points) != 80 || st.Requeues != 1 {
		t.Errorf("the stage has attempt %d, %d points and %d requeues", st.Attempt, len(st.Points), st.Requeues)
	}
	c.same(want, id)
}
