#!/usr/bin/env node
import "../dist/faultRelayMain.js"
