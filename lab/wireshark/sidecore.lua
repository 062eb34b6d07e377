-- Wireshark dissector for rpmsg as sidecore records it (pcapng, link type 147): the header, the name service, and the
-- first bytes of sidecore's console and file services.
--
--     tshark -X lua_script:sidecore.lua -r frames.pcapng -V
--     wireshark -X lua_script:sidecore.lua frames.pcapng
--
-- To have it always, put it into the folder that Help > About > Folders calls "Personal Lua Plugins". Layouts: the
-- protocol's chapters of the book.

local rpmsg = Proto("rpmsg", "Remote Processor Messaging")
local names = Proto("rpmsg_ns", "rpmsg Name Service")
local service = Proto("sidecore", "sidecore Service")

local ANY, NAME_SERVICE = 0xFFFFFFFF, 53
local HEADER, ANNOUNCEMENT = 16, 40

local f = {
    src = ProtoField.uint32("rpmsg.src", "Source", base.DEC),
    dst = ProtoField.uint32("rpmsg.dst", "Destination", base.DEC),
    reserved = ProtoField.uint32("rpmsg.reserved", "Reserved", base.HEX),
    len = ProtoField.uint16("rpmsg.len", "Length", base.DEC),
    flags = ProtoField.uint16("rpmsg.flags", "Flags", base.HEX),
    service = ProtoField.string("rpmsg.service", "Service"),
    payload = ProtoField.bytes("rpmsg.payload", "Payload"),
}
rpmsg.fields = { f.src, f.dst, f.reserved, f.len, f.flags, f.service, f.payload }

local n = {
    name = ProtoField.stringz("rpmsg_ns.name", "Name"),
    addr = ProtoField.uint32("rpmsg_ns.addr", "Address", base.DEC),
    flags = ProtoField.uint32("rpmsg_ns.flags", "Flags", base.HEX),
    gone = ProtoField.bool("rpmsg_ns.gone", "Gone", 32, nil, 0x1),
}
names.fields = { n.name, n.addr, n.flags, n.gone }

local s = {
    kind = ProtoField.uint8("sidecore.kind", "Message", base.HEX),
    host = ProtoField.bool("sidecore.from_host", "From the main side", 8, nil, 0x80),
    body = ProtoField.bytes("sidecore.body", "Body"),
}
service.fields = { s.kind, s.host, s.body }

local e = {
    short = ProtoExpert.new("rpmsg.short", "Frame is shorter than a header", expert.group.MALFORMED, expert.severity.ERROR),
    cut = ProtoExpert.new("rpmsg.cut", "Header claims more than the frame has", expert.group.MALFORMED, expert.severity.ERROR),
    unclean = ProtoExpert.new("rpmsg.unclean", "Reserved or flags are not 0", expert.group.PROTOCOL, expert.severity.WARN),
}
rpmsg.experts = { e.short, e.cut, e.unclean }
local wrong = ProtoExpert.new("rpmsg_ns.length", "An announcement has 40 bytes", expert.group.MALFORMED, expert.severity.ERROR)
names.experts = { wrong }

-- What was announced so far, by interface and address. Made anew for each pass over the file.
local announced = {}
function rpmsg.init()
    announced = {}
end

local interface = Field.new("frame.interface_id")

local function key(address)
    local id = interface()
    return (id and id.value or 0) .. "/" .. address
end

local function shown(address)
    if address == ANY then
        return "any"
    end
    return announced[key(address)] and (address .. " (" .. announced[key(address)] .. ")") or tostring(address)
end

local function name_service(tvb, pinfo, tree)
    pinfo.cols.protocol = "RPMSG-NS"
    local node = tree:add(names, tvb())
    if tvb:len() ~= ANNOUNCEMENT then
        node:add_proto_expert_info(wrong)
        return
    end
    local name, addr, flags = tvb(0, 31):stringz(), tvb(32, 4):le_uint(), tvb(36, 4):le_uint()
    local gone = flags % 2 == 1
    node:add(n.name, tvb(0, 32), name)
    node:add_le(n.addr, tvb(32, 4))
    node:add_le(n.flags, tvb(36, 4)):add_le(n.gone, tvb(36, 4))
    if not gone then
        announced[key(addr)] = name
    end
    pinfo.cols.info = string.format("%s %s at %d", gone and "Withdraw" or "Announce", name, addr)
end

local function sidecore(tvb, tree)
    if tvb:len() == 0 then
        return
    end
    local node = tree:add(service, tvb())
    node:add(s.kind, tvb(0, 1))
    node:add(s.host, tvb(0, 1))
    if tvb:len() > 1 then
        node:add(s.body, tvb(1))
    end
end

function rpmsg.dissector(tvb, pinfo, tree)
    pinfo.cols.protocol = "RPMSG"
    local node = tree:add(rpmsg, tvb(0, math.min(HEADER, tvb:len())))
    if tvb:len() < HEADER then
        node:add_proto_expert_info(e.short)
        return
    end
    local src, dst, len = tvb(0, 4):le_uint(), tvb(4, 4):le_uint(), tvb(12, 2):le_uint()
    node:add_le(f.src, tvb(0, 4))
    node:add_le(f.dst, tvb(4, 4))
    node:add_le(f.reserved, tvb(8, 4))
    node:add_le(f.len, tvb(12, 2))
    node:add_le(f.flags, tvb(14, 2))
    if tvb(8, 4):le_uint() ~= 0 or tvb(14, 2):le_uint() ~= 0 then
        node:add_proto_expert_info(e.unclean)
    end
    pinfo.cols.src, pinfo.cols.dst = shown(src), shown(dst)
    pinfo.cols.info = string.format("%s -> %s, %d bytes", shown(src), shown(dst), len)
    local there = tvb:reported_length_remaining(HEADER)
    if len > tvb:len() - HEADER then
        node:add_proto_expert_info(e.cut)
        len = math.min(tvb:len() - HEADER, there)
    end
    if len == 0 then
        return
    end
    local payload = tvb(HEADER, len):tvb()
    if dst == NAME_SERVICE then
        name_service(payload, pinfo, tree)
        return
    end
    local name = announced[key(src)] or announced[key(dst)]
    if name then
        node:add(f.service, name):set_generated()
    end
    node:add(f.payload, tvb(HEADER, len))
    if name == "sidecore-console" or name == "sidecore-file" then
        sidecore(payload, tree)
    end
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, rpmsg)
