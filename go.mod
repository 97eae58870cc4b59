module hatchery

go 1.26.8
