package control

// SchedulerFlag is a name of a scheduler's flag, as ipvsadm -b takes it.
type SchedulerFlag struct {
	Name      string
	Scheduler string // the only one that it goes with, "" for any
	Flag      ServiceFlags
}

// SchedulerFlags are all names.
var SchedulerFlags = []SchedulerFlag{
	{"sh-fallback", "sh", Flag1},
	{"sh-port", "sh", Flag2},
	{"mh-fallback", "mh", Flag1},
	{"mh-port", "mh", Flag2},
	{"flag-1", "", Flag1},
	{"flag-2", "", Flag2},
	{"flag-3", "", Flag3},
}
