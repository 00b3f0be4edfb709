# Forwards to meson, for those whose fingers type make. BUILD=dir chooses another build directory.
BUILD ?= build

all: $(BUILD)/build.ninja
	meson compile -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD)

check: all
	meson test -C $(BUILD) --print-errorlogs

unit: all
	meson test -C $(BUILD) --print-errorlogs --suite unit --suite style

install: all
	meson install -C $(BUILD)

format:
	tools/format

clean:
	rm -rf $(BUILD)

.PHONY: all check unit install format clean
