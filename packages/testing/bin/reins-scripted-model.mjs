#!/usr/bin/env node
import "../dist/scriptedModelMain.js"
