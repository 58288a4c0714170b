// Bench of registers, command queue, fault queue and barrier, around the module `queues` that queues.rs builds.
//
// Prints what the block does as `> ...` lines, which queues.rs compares with what the specification's types say, and
// `FAIL ...` where a directed check does not hold. Memory is 64 KiB from address 0; beyond it accesses fail.
`timescale 1ns / 1ns
module bench;
  parameter COMMANDS = 1;
  parameter FAULTS = 1;
  parameter VECTORS = 1;
  parameter DEVICE_ID_WIDTH = 24;
  parameter PROCESS_ID_WIDTH = 20;
  parameter MODE = 4;
  parameter PAS = 56;

  reg clk = 0, rst = 1;
  always #1 clk = !clk;

  // Memory, and the stimulus that queues.rs wrote.
  reg [63:0] memory [0:8191];
  reg [63:0] commands [0:2 * COMMANDS - 1];
  reg [63:0] faults [0:4 * FAULTS - 1];
  reg poison = 0, lossy = 0;
  integer seed = 1;

  // Registers.
  reg [8:0] s_awaddr = 0, s_araddr = 0;
  reg s_awvalid = 0, s_wvalid = 0, s_bready = 0, s_arvalid = 0, s_rready = 0;
  reg [63:0] s_wdata = 0;
  reg [7:0] s_wstrb = 0;
  wire s_awready, s_wready, s_bvalid, s_arready, s_rvalid;
  wire [63:0] s_rdata;
  wire [1:0] s_bresp, s_rresp;

  // Command side.
  reg c_rd_ready = 0, c_rd_data_valid = 0, c_rd_error = 0, c_rd_poison = 0;
  reg [63:0] c_rd_data = 0;
  reg c_wr_ready = 0, c_wr_done = 0, c_wr_error = 0;
  wire c_rd_valid, c_wr_valid;
  wire [63:0] c_rd_addr, c_wr_addr, c_wd_data;
  wire [7:0] c_rd_len, c_wr_len, c_wd_strb;
  wire [2:0] c_wr_size;
  reg inval_ready = 0, fence_ready = 0, drain_ready = 0;
  wire inval_valid, inval_gv, inval_av, inval_pscv, inval_dv;
  wire [1:0] inval_kind;
  wire [19:0] inval_pscid;
  wire [15:0] inval_gscid;
  wire [51:0] inval_addr, inval_range;
  wire [DEVICE_ID_WIDTH - 1:0] inval_did;
  wire [PROCESS_ID_WIDTH - 1:0] inval_pid;
  wire fence_valid, drain_valid, drain_pr, drain_pw;

  // Fault side.
  reg f_wr_ready = 0, f_wd_ready = 0, f_wr_done = 0, f_wr_error = 0, f_fault_valid = 0;
  reg [63:0] record = 0, iotval = 0, iotval2 = 0;
  wire f_wr_valid, f_fault_ready;
  wire [63:0] f_wr_addr, f_wd_data;
  wire [7:0] f_wr_len, f_wd_strb;
  wire [2:0] f_wr_size;

  wire [2:0] ddtp_mode;
  wire [43:0] ddtp_root;
  wire [VECTORS - 1:0] irq;

  queues dut (
    .clk(clk), .rst(rst),
    .s_awaddr(s_awaddr), .s_awvalid(s_awvalid), .s_awready(s_awready),
    .s_wdata(s_wdata), .s_wstrb(s_wstrb), .s_wvalid(s_wvalid), .s_wready(s_wready),
    .s_bvalid(s_bvalid), .s_bready(s_bready), .s_bresp(s_bresp),
    .s_araddr(s_araddr), .s_arvalid(s_arvalid), .s_arready(s_arready),
    .s_rdata(s_rdata), .s_rvalid(s_rvalid), .s_rready(s_rready), .s_rresp(s_rresp),
    .c_rd_valid(c_rd_valid), .c_rd_ready(c_rd_ready), .c_rd_addr(c_rd_addr), .c_rd_len(c_rd_len),
    .c_rd_data_valid(c_rd_data_valid), .c_rd_data(c_rd_data), .c_rd_error(c_rd_error), .c_rd_poison(c_rd_poison),
    .c_wr_valid(c_wr_valid), .c_wr_ready(c_wr_ready), .c_wr_addr(c_wr_addr), .c_wr_len(c_wr_len),
    .c_wr_size(c_wr_size), .c_wd_data(c_wd_data), .c_wd_strb(c_wd_strb),
    .c_wr_done(c_wr_done), .c_wr_error(c_wr_error),
    .inval_valid(inval_valid), .inval_ready(inval_ready), .inval_kind(inval_kind), .inval_gv(inval_gv),
    .inval_av(inval_av), .inval_pscv(inval_pscv), .inval_pscid(inval_pscid), .inval_addr(inval_addr),
    .inval_gscid(inval_gscid), .inval_range(inval_range), .inval_dv(inval_dv), .inval_did(inval_did), .inval_pid(inval_pid),
    .fence_valid(fence_valid), .fence_ready(fence_ready),
    .drain_valid(drain_valid), .drain_ready(drain_ready), .drain_pr(drain_pr), .drain_pw(drain_pw),
    .f_fault_valid(f_fault_valid), .f_fault_ready(f_fault_ready),
    .f_fault_cause(record[11:0]), .f_fault_pid(record[31:12]), .f_fault_pv(record[32]), .f_fault_priv(record[33]),
    .f_fault_ttyp(record[39:34]), .f_fault_did(record[63:40]), .f_fault_iotval(iotval), .f_fault_iotval2(iotval2),
    .f_wr_valid(f_wr_valid), .f_wr_ready(f_wr_ready), .f_wr_addr(f_wr_addr), .f_wr_len(f_wr_len),
    .f_wr_size(f_wr_size), .f_wd_ready(f_wd_ready), .f_wd_data(f_wd_data), .f_wd_strb(f_wd_strb),
    .f_wr_done(f_wr_done), .f_wr_error(f_wr_error),
    .ddtp_mode(ddtp_mode), .ddtp_root(ddtp_root), .irq(irq)
  );

  function coin(input integer dummy);
    coin = $random(seed) & 1;
  endfunction

  // Waits for a valid/ready handshake's other half a random time.
  task pause;
    while (coin(0)) @(posedge clk);
  endtask

  task check(input [8 * 40 - 1:0] what, input [63:0] got, input [63:0] want);
    if (got !== want) $display("FAIL %0s: %h, not %h", what, got, want);
  endtask

  // Command fetches.
  reg [63:0] read_address;
  integer read_beat;
  always begin
    @(posedge clk);
    if (c_rd_valid) begin
      pause;
      read_address = c_rd_addr;
      check("fetch length", c_rd_len, 1);
      c_rd_ready <= 1; @(posedge clk); c_rd_ready <= 0; @(posedge clk);
      for (read_beat = 0; read_beat < 2; read_beat = read_beat + 1) begin
        pause;
        c_rd_data_valid <= 1;
        c_rd_error <= |read_address[63:16];
        c_rd_poison <= poison & (read_beat == 0);
        c_rd_data <= |read_address[63:16] ? 64'hx : memory[read_address[15:3] + read_beat];
        @(posedge clk);
        c_rd_data_valid <= 0; c_rd_data <= 64'hx; c_rd_error <= 1'bx; c_rd_poison <= 1'bx;
      end
    end
  end

  // The store of IOFENCE.C: its beat is taken with the address.
  reg [63:0] store_address;
  always begin
    @(posedge clk);
    if (c_wr_valid) begin
      pause;
      store_address = c_wr_addr;
      check("store length", c_wr_len, 0);
      check("store size", c_wr_size, 2);
      $display("> store %h %h", store_address, store_address[2] ? c_wd_data[63:32] : c_wd_data[31:0]);
      check("store strobes", c_wd_strb, store_address[2] ? 8'hf0 : 8'h0f);
      c_wr_ready <= 1; @(posedge clk); c_wr_ready <= 0;
      repeat (3) @(posedge clk);
      c_wr_error <= lossy; c_wr_done <= 1; @(posedge clk); c_wr_done <= 0; c_wr_error <= 1'bx;
    end
  end

  // Invalidations, fences and drains.
  always begin
    @(posedge clk);
    if (inval_valid) begin
      pause;
      case (inval_kind)
        0: $display("> vma %b %h %b %h %b %h %h", inval_gv, inval_gv ? inval_gscid : 16'd0, inval_pscv,
                    inval_pscv ? inval_pscid : 20'd0, inval_av, inval_av ? inval_addr : 52'd0,
                    inval_av ? inval_range : 52'd0);
        1: $display("> ddt %b %h", inval_dv, inval_dv ? inval_did | 24'd0 : 24'd0);
        2: $display("> pdt %h %h", inval_did | 24'd0, inval_pid | 20'd0);
        default: $display("> gvma %b %h", inval_gv, inval_gv ? inval_gscid : 16'd0);
      endcase
      inval_ready <= 1; @(posedge clk); inval_ready <= 0; @(posedge clk);
    end
  end
  always begin
    @(posedge clk);
    if (fence_valid) begin
      pause;
      $display("> fence");
      fence_ready <= 1; @(posedge clk); fence_ready <= 0; @(posedge clk);
    end
  end
  always begin
    @(posedge clk);
    if (drain_valid) begin
      pause;
      $display("> drain %b %b", drain_pr, drain_pw);
      drain_ready <= 1; @(posedge clk); drain_ready <= 0; @(posedge clk);
    end
  end

  // Fault records.
  reg [63:0] write_address;
  integer write_beat;
  always begin
    @(posedge clk);
    if (f_wr_valid) begin
      pause;
      write_address = f_wr_addr;
      check("record length", f_wr_len, 3);
      check("record size", f_wr_size, 3);
      // The first beat is taken with the address, each other one when the beat before it has been sent.
      for (write_beat = 0; write_beat < 4; write_beat = write_beat + 1) begin
        check("record strobes", f_wd_strb, 8'hff);
        if (!lossy) memory[write_address[15:3] + write_beat] = f_wd_data;
        if (write_beat == 0) f_wr_ready <= 1; else f_wd_ready <= 1;
        @(posedge clk); f_wr_ready <= 0; f_wd_ready <= 0; @(posedge clk);
        pause;
      end
      f_wd_ready <= 1; @(posedge clk); f_wd_ready <= 0;
      pause;
      f_wr_error <= lossy; f_wr_done <= 1; @(posedge clk); f_wr_done <= 0; f_wr_error <= 1'bx;
    end
  end

  task write_strobed(input [11:0] offset, input [63:0] data, input [7:0] strobes);
    begin
      fork
        begin
          s_awaddr <= offset[11:3]; s_awvalid <= 1;
          @(posedge clk); while (!s_awready) @(posedge clk);
          s_awvalid <= 0; s_awaddr <= 9'hx;
        end
        begin
          pause;
          s_wdata <= data; s_wstrb <= strobes; s_wvalid <= 1;
          @(posedge clk); while (!s_wready) @(posedge clk);
          s_wvalid <= 0; s_wdata <= 64'hx;
        end
      join
      pause;
      s_bready <= 1;
      @(posedge clk); while (!s_bvalid) @(posedge clk);
      check("bresp", s_bresp, 0);
      s_bready <= 0;
      @(posedge clk);
    end
  endtask
  task write64(input [11:0] offset, input [63:0] data);
    write_strobed(offset, data, 8'hff);
  endtask
  task write32(input [11:0] offset, input [31:0] data);
    write_strobed(offset, {data, data}, offset[2] ? 8'hf0 : 8'h0f);
  endtask
  reg [63:0] got;
  task read64(input [11:0] offset);
    begin
      s_araddr <= offset[11:3]; s_arvalid <= 1;
      @(posedge clk); while (!s_arready) @(posedge clk);
      s_arvalid <= 0; s_araddr <= 9'hx;
      pause;
      s_rready <= 1;
      @(posedge clk); while (!s_rvalid) @(posedge clk);
      check("rresp", s_rresp, 0);
      got = s_rdata;
      s_rready <= 0;
      @(posedge clk);
    end
  endtask
  task read32(input [11:0] offset);
    begin
      read64(offset);
      got = offset[2] ? got[63:32] : got[31:0];
    end
  endtask
  task expect32(input [8 * 40 - 1:0] what, input [11:0] offset, input [31:0] want);
    begin
      read32(offset);
      check(what, got, want);
    end
  endtask
  task expect64(input [8 * 40 - 1:0] what, input [11:0] offset, input [63:0] want);
    begin
      read64(offset);
      check(what, got, want);
    end
  endtask

  localparam CAPABILITIES = 0, FCTL = 8, DDTP = 16, CQB = 24, CQH = 32, CQT = 36, FQB = 40, FQH = 48, FQT = 52,
             PQB = 56, CQCSR = 72, FQCSR = 76, PQCSR = 80, IPSR = 84, ICVEC = 760;
  localparam [43:0] PAGES = 44'hfff_ffff_ffff >> (56 - PAS); // what a PPN field holds
  localparam [63:0] HALVES = 64'h0001_2345_0000_fc03 & {10'd0, PAGES, 10'h3ff};
  localparam ON = 32'h10000, BUSY = 32'h20000;

  task await_idle(input [11:0] csr);
    begin
      read32(csr);
      while (got & BUSY) read32(csr);
    end
  endtask

  // Puts command `n` at the tail and waits until the queue has done with it.
  reg [31:0] tail;
  integer n, k;
  task run_command(input integer n);
    begin
      memory[2 * tail] = commands[2 * n];
      memory[2 * tail + 1] = commands[2 * n + 1];
      tail = (tail + 1) & 32'hff;
      write32(CQT, tail);
      await_command;
    end
  endtask
  // An IOFENCE.C whose store lies beyond the physical address space is replaced as an illegal command is.
  task await_command;
    begin
      read64(CQH);
      while (got[31:0] != tail) begin
        read32(CQCSR);
        if (got[10]) begin
          read32(CQH);
          $display("> illegal");
          memory[2 * got] = 64'h2; // an IOFENCE.C that does nothing takes its place
          memory[2 * got + 1] = 0;
          write32(CQCSR, 32'h401);
        end
        if (got[8]) begin
          read32(CQH);
          $display("> memory fault");
          memory[2 * got] = 64'h2;
          memory[2 * got + 1] = 0;
          write32(CQCSR, 32'h101);
        end
        read64(CQH);
      end
    end
  endtask

  task offer_fault(input [63:0] first, input [63:0] third, input [63:0] fourth);
    begin
      record <= first; iotval <= third; iotval2 <= fourth; f_fault_valid <= 1;
      @(posedge clk); while (!f_fault_ready) @(posedge clk);
      f_fault_valid <= 0; record <= 64'hx; iotval <= 64'hx; iotval2 <= 64'hx;
      repeat (8) @(posedge clk);
    end
  endtask

  initial begin
    $readmemh("commands.hex", commands);
    $readmemh("faults.hex", faults);
    repeat (4) @(posedge clk);
    rst <= 0;
    @(posedge clk);

    // Reset state, and what cannot be written.
    read64(CAPABILITIES); $display("> capabilities %h", got);
    write64(CAPABILITIES, 0);
    read64(CAPABILITIES); $display("> capabilities %h", got);
    expect32("fctl", FCTL, 2);
    expect64("ddtp after reset", DDTP, 0);
    expect32("cqcsr after reset", CQCSR, 0);
    expect32("fqcsr after reset", FQCSR, 0);
    expect32("ipsr after reset", IPSR, 0);
    write32(FCTL, 5); expect32("fctl is fixed", FCTL, 2);
    write64(PQB, ~64'd0); expect64("pqb is absent", PQB, 0);
    write32(PQCSR, 1); expect32("pqcsr is absent", PQCSR, 0);
    write64(1024, ~64'd0); expect64("reserved space", 1024, 0);
    write64(768, ~64'd0); expect64("msi_cfg_tbl", 768, 0);
    write64(ICVEC, ~64'd0);
    expect64("icvec", ICVEC, (VECTORS - 1) | ((VECTORS - 1) << 4));
    write64(ICVEC, VECTORS == 1 ? 0 : 64'h10);

    // ddtp: modes, halves, busy.
    write64(DDTP, {10'd0, 44'habc_dead_beef, 5'd0, 5'd4});
    repeat (40) @(posedge clk);
    expect64("ddtp 3LVL", DDTP, {10'd0, 44'habc_dead_beef & PAGES, 5'd0, 5'd4});
    write32(DDTP + 4, 32'h12345); write32(DDTP, 32'hfc03);
    repeat (40) @(posedge clk);
    expect64("ddtp by halves", DDTP, HALVES);
    write32(DDTP, 32'hfc00 | 9);
    repeat (40) @(posedge clk);
    expect64("ddtp illegal mode", DDTP, HALVES);
    write_strobed(DDTP, 64'h4, 8'h01);
    expect64("ddtp single byte", DDTP, HALVES);
    write64(DDTP, MODE);
    repeat (40) @(posedge clk);
    check("ddtp_mode", ddtp_mode, MODE);
    check("ddtp_root", ddtp_root, 0);

    // Bases: WARL size, and the index that they clear.
    write64(CQB, 64'h003f_ffff_ffff_fc1f);
    read64(CQB); $display("> cqb %h", got);
    write32(CQT, 32'h12); expect32("cqt", CQT, 32'h12);
    write64(CQB, {54'd0, 10'd7}); // 256 entries at address 0
    expect32("cqt cleared", CQT, 0);
    write32(CQT, 32'hfffffe05); expect32("cqt masked", CQT, 5);
    write32(CQT, 0);
    write64(FQB, 64'h003f_ffff_ffff_fc1f);
    read64(FQB); $display("> fqb %h", got);
    write64(FQB, {54'd2, 10'd1}); // 4 entries at 0x2000
    write32(FQH, 32'hff); expect32("fqh masked", FQH, 3);
    write32(FQH, 0);

    // Commands, one by one.
    write32(CQCSR, 1);
    await_idle(CQCSR);
    expect32("cqcsr on", CQCSR, ON | 1);
    tail = 0;
    for (n = 0; n < COMMANDS; n = n + 1) begin
      $display("> command %0d", n);
      run_command(n);
      read32(CQCSR);
      if (got[11]) begin
        $display("> wired");
        write32(CQCSR, 32'h801);
      end
    end

    // A burst of fences, across the end of the ring.
    for (k = 0; k < 100; k = k + 1) begin
      memory[2 * ((tail + k) & 255)] = 64'h2;
      memory[2 * ((tail + k) & 255) + 1] = 64'h0;
    end
    tail = (tail + 100) & 255;
    $display("> burst");
    write32(CQT, tail);
    await_command;
    expect32("cqcsr after the burst", CQCSR, ON | 1);

    // Memory faults: of a fetch, by poison and by error; of a store. The queue stops, then resumes with the same command.
    $display("> memory faults");
    memory[2 * tail] = 64'h0000_0001_0000_0402; memory[2 * tail + 1] = 64'h1000 >> 2;
    poison = 1;
    tail = (tail + 1) & 255;
    write32(CQT, tail);
    repeat (80) @(posedge clk);
    expect32("cqmf by poison", CQCSR, ON | 32'h101);
    expect32("cqh at the fault", CQH, (tail - 1) & 255);
    poison = 0; lossy = 1;
    write32(CQCSR, 32'h103);
    repeat (120) @(posedge clk);
    expect32("cqmf by store", CQCSR, ON | 32'h103);
    expect32("cqh at the store", CQH, (tail - 1) & 255);
    expect32("cip", IPSR, 1);
    check("irq of cip", irq, 1);
    write32(IPSR, 1);
    repeat (4) @(posedge clk);
    expect32("cip again", IPSR, 1);
    lossy = 0;
    write32(CQCSR, 32'h103);
    write32(IPSR, 1);
    await_command;
    expect32("cip cleared", IPSR, 0);
    check("no irq", irq, 0);
    expect32("cqcsr after the faults", CQCSR, ON | 3);
    write32(CQCSR, 0);
    await_idle(CQCSR);
    expect32("cqcsr off", CQCSR, 0);
    write64(CQB, {44'h000_000f_0000, 10'd7});
    write32(CQT, 2);
    repeat (40) @(posedge clk);
    expect32("cqh kept while off", CQH, tail);
    write32(CQCSR, 1);
    repeat (80) @(posedge clk);
    expect32("cqmf by error", CQCSR, ON | 32'h101);
    expect32("cqh from 0", CQH, 0);
    write32(CQCSR, 0);
    await_idle(CQCSR);
    expect32("cqmf stays while off", CQCSR, 32'h100);
    write64(CQB, {54'd0, 10'd7});
    write32(CQCSR, 1);
    await_idle(CQCSR);
    expect32("cqmf cleared by cqen", CQCSR, ON | 1);

    // Faults: off, then on, one by one.
    $display("> faults");
    offer_fault(1, 2, 3);
    expect32("fqt while off", FQT, 0);
    expect32("fqcsr while off", FQCSR, 0);
    write32(FQCSR, 1);
    await_idle(FQCSR);
    expect32("fqcsr on", FQCSR, ON | 1);
    for (n = 0; n < FAULTS; n = n + 1) begin
      offer_fault(faults[4 * n], faults[4 * n + 2], faults[4 * n + 3]);
      repeat (30) @(posedge clk);
      expect32("fqt", FQT, (n + 1) & 3);
      for (k = 0; k < 4; k = k + 1) $display("> record %h", memory[1024 + 4 * (n & 3) + k]);
      write32(FQH, n + 1);
    end
    expect32("no fip without fie", IPSR, 0);

    // Overflow: three records fit, the fourth is dropped, and so are all until fqof is cleared.
    write32(FQCSR, 0); await_idle(FQCSR);
    write32(FQH, 0);
    write32(FQCSR, 3); await_idle(FQCSR);
    expect32("fqt from 0", FQT, 0);
    offer_fault(1, 2, 3); repeat (30) @(posedge clk);
    expect32("fip", IPSR, 2);
    check("irq of fip", irq, VECTORS == 1 ? 1 : 2);
    write32(IPSR, 2);
    expect32("fip cleared", IPSR, 0);
    offer_fault(1, 2, 3); offer_fault(1, 2, 3); repeat (30) @(posedge clk);
    expect32("full, not over", FQCSR, ON | 3);
    offer_fault(1, 2, 3); repeat (30) @(posedge clk);
    expect32("fqof", FQCSR, ON | 32'h203);
    write32(FQH, 2);
    offer_fault(1, 2, 3); repeat (30) @(posedge clk);
    expect32("fqt while fqof", FQT, 3);
    write32(FQCSR, 32'h203);
    lossy = 1;
    offer_fault(1, 2, 3); repeat (30) @(posedge clk);
    expect32("fqmf", FQCSR, ON | 32'h103);
    expect32("fqt at fqmf", FQT, 3);
    lossy = 0;
    write32(FQCSR, 32'h103);
    offer_fault(1, 2, 3); repeat (30) @(posedge clk);
    expect32("fqt wraps", FQT, 0);
    expect32("fqcsr at the end", FQCSR, ON | 3);
    $display("> end");
    $finish;
  end

  initial begin
    #8000000;
    $display("FAIL timeout");
    $finish;
  end
endmodule
